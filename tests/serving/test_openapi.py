import io

import hypothesis
import jsonschema
import pytest
import schemathesis

from Classes.common import conditions, provenance
from Classes.inference import model_card
from Classes.serving import access_control, api_errors, app, openapi
from tests.support import graphs, mutations, services


@pytest.fixture
def client(tmp_path):
    found = services.client(tmp_path, "MaxBody=50000", keys=None)
    yield found
    found.service.close()


@pytest.fixture
def document(client):
    return client.get("/openapi.json").get_json()


def holds(document, response, path, method):
    """Assert that a response matches the document."""
    operation = document["paths"][path][method]
    described = operation["responses"][str(response.status_code)]
    content = described["content"].get(response.mimetype)
    assert content is not None, f"{response.mimetype} is not described"
    if response.mimetype == "application/json":
        schema = {**content["schema"], "components": document["components"]}
        jsonschema.Draft202012Validator(schema).validate(response.get_json())
    if response.status_code >= 400:
        assert response.get_json()["code"] in described["description"]


def test_the_document_has_every_endpoint_except_the_pages(client, document):
    pages = ("pages.", "reports.")
    rules = [rule for rule in client.application.url_map.iter_rules() if not rule.endpoint.startswith(pages)]

    assert set(document["paths"]) == {rule.rule for rule in rules}
    assert len(rules) == 14
    for rule in rules:
        assert {method.upper() for method in document["paths"][rule.rule]} == rule.methods - {"HEAD", "OPTIONS"}


def test_every_operation_is_described(document):
    for operations in document["paths"].values():
        for operation in operations.values():
            assert len(operation["summary"]) > 10
            assert operation["operationId"]
            assert "200" in operation["responses"]


def test_sample_answers_match_their_schemas(document):
    contents = [
        content
        for operations in document["paths"].values()
        for operation in operations.values()
        for response in operation["responses"].values()
        for content in response["content"].values()
    ]
    samples = [content for content in contents if "example" in content]

    without = {content["schema"].get("$ref", "").split("/")[-1] for content in contents if "example" not in content}
    # The model card and this document depend on the model; metrics are plain text.
    assert without == {"Model", "Document", ""}
    for content in samples:
        schema = {**content["schema"], "components": document["components"]}
        jsonschema.Draft202012Validator(schema).validate(content["example"])


def test_schemas_are_valid_and_references_resolve(document):
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    text = str(document)
    references = {part.split("'")[0] for part in text.split("#/components/schemas/")[1:]}
    assert references <= set(document["components"]["schemas"])
    assert "https://" not in text, "nothing in it is fetched from elsewhere"


def test_secured_endpoints_are_marked(document):
    secured = {path for path, found in document["paths"].items() if "security" in next(iter(found.values()))}

    assert secured == {
        "/Inference",
        "/v1/classify",
        "/v1/heatmap",
        "/v1/batch",
        "/v1/field",
        "/v1/history",
        "/v1/model",
        "/metrics",
    }


@pytest.mark.parametrize("path", ["/Inference", "/v1/classify"])
@pytest.mark.parametrize(
    "content",
    [
        services.image(192, 60),
        services.image(64, 60, "JPEG"),
        b"",
        b"no image",
        services.image(64, 60)[:70],
        bytes(60000),
    ],
)
def test_responses_for_one_image_match_the_document(client, document, path, content):
    holds(document, client.post(path, data=content), path, "post")


def test_responses_for_a_batch_match_the_document(client, document):
    files = [(io.BytesIO(content), "a.png") for content in (services.image(192, 60), b"no image", b"")]

    response = client.post("/v1/batch", data={"file": files})

    assert response.status_code == 200
    holds(document, response, "/v1/batch", "post")
    holds(document, client.post("/v1/batch", data=b""), "/v1/batch", "post")


@pytest.mark.parametrize(
    "path",
    ["/v1/info", "/v1/models", "/v1/model", "/v1/history", "/v1/examples", "/health/live", "/health/ready", "/metrics"],
)
def test_other_responses_match_the_document(client, document, path):
    holds(document, client.get(path), path, "get")


def test_errors_match_the_document(tmp_path):
    client = services.client(
        tmp_path, "MaxQueued=0", "RateLimitPerMinute=2", keys=access_control.ApiKeys({"": b"k" * 16})
    )
    document = client.get("/openapi.json").get_json()
    known = {"X-API-Key": "k" * 16}
    statuses = []
    for headers in ({}, known, known, known):
        response = client.post("/v1/classify", data=services.image(64, 20), headers=headers)
        holds(document, response, "/v1/classify", "post")
        statuses.append(response.status_code)
    client.service.stop()
    holds(document, client.get("/health/ready"), "/health/ready", "get")

    assert statuses == [401, 200, 200, 429]
    client.service.close()


# A schema cannot describe an image: bytes that match it may still not be an image.
CHECKS = [check for check in schemathesis.checks.CHECKS.get_all() if check.__name__ != "positive_data_acceptance"]


@pytest.mark.slow
@pytest.mark.parametrize("mode", schemathesis.GenerationMode)
@pytest.mark.parametrize("path", ["/Inference", "/v1/classify", "/v1/batch", "/v1/model", "/health/ready", "/metrics"])
def test_generated_requests_get_documented_responses(tmp_path, path, mode):
    card = model_card.load_model_card(graphs.write(tmp_path / "Model", content=graphs.pooled(), size=graphs.SIZE))
    client = services.client(tmp_path, "RateLimitPerMinute=0", "MaxBody=50000", card=card)
    schema = schemathesis.openapi.from_wsgi("/openapi.json", client.application)
    operation = next(each.ok() for each in schema.get_all_operations() if each.ok().path == path)

    @mutations.steady(25)
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def ask(case):
        # werkzeug's client cannot send a form that is not a dict.
        hypothesis.assume(case.media_type != "multipart/form-data" or isinstance(case.body, dict))
        case.call_and_validate(checks=CHECKS)

    # An endpoint without parameters and body has no invalid requests.
    if mode == schemathesis.GenerationMode.POSITIVE or operation.body or list(operation.iter_parameters()):
        ask()
    client.service.close()


def test_the_model_endpoint_returns_the_card_without_its_path(client):
    answer = client.get("/v1/model").get_json()

    assert answer["graph_sha256"] == client.service.models.default.card.graph_sha256
    assert answer["classes"] == ["0", "1"]
    assert answer["engine"] == "OpenVINO CPU"
    assert "path" not in answer


def test_the_info_endpoint_describes_the_server_without_a_key(tmp_path):
    card = model_card.load_model_card(graphs.write(tmp_path / "Model", content=b"", synthetic=True))
    keys = access_control.ApiKeys({"": b"k" * 16})
    client = services.client(tmp_path, "SiteName=Ward 7", "MaxBatch=5", keys=keys, card=card)

    info = client.get("/v1/info").get_json()

    assert (info["site_name"], info["synthetic"], info["key_required"]) == ("Ward 7", True, True)
    assert (info["model"], info["classes"], info["positive_class"]) == (card.graph_sha256[:12], ["0", "1"], "1")
    assert (info["version"], info["limits"]["batch_images"]) == (provenance.version(), 5)
    client.service.close()


def test_a_server_without_a_key_says_so(client):
    assert client.get("/v1/info").get_json()["key_required"] is False


def test_the_first_code_of_a_status_is_used_for_library_errors():
    assert api_errors.api_error_from_status(400, "").code == "bad_request"
    assert api_errors.api_error_from_status(413, "").code == "body_too_large"
    assert api_errors.api_error_from_status(418, "").code == "bad_request"
    assert api_errors.api_error_from_status(505, "").code == "internal_error"
    assert all(400 <= status <= 599 and text for status, text in api_errors.ERROR_CODES.values())


def test_an_undocumented_route_is_left_out(tmp_path):
    service = services.create_service(tmp_path)
    application = app.create_app(service)
    application.add_url_rule("/extra", "extra", lambda: "x")

    assert "/extra" not in openapi.openapi_document(application, conditions.ALL)["paths"]
    service.close()
