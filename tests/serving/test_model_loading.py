import contextlib

import pytest

from Classes.common.errors import ALLError
from Classes.inference import device_selection
from Classes.serving import model_loading
from tests.support import graphs, services


@pytest.fixture(autouse=True)
def opened(monkeypatch):
    """[(folder of the graph, device, precision)] of the backends that were opened, all of them fake."""
    found = []

    def open_backend(configuration, card):
        found.append((card.graph_path.parent.name, configuration["Device"], configuration["Precision"]))
        return services.FakeBackend()

    monkeypatch.setattr(device_selection, "open_backend", open_backend)
    return found


def load(folder, *settings):
    with contextlib.ExitStack() as stack:
        return model_loading.open_models(graphs.configuration(folder, *settings), stack)


def write(folder, name, **fields):
    """Write a model as Model/<name>/<name>.pb."""
    path = graphs.write(folder / "Model" / name, content=name.encode(), **fields)
    path.with_suffix(".pb").rename(path.with_name(f"{name}.pb"))
    path.rename(path.with_name(f"{name}.json"))


def code(folder, *settings):
    with pytest.raises(ALLError) as found:
        load(folder, *settings)
    return found.value.code


@pytest.fixture
def folder(tmp_path):
    graphs.write(tmp_path / "Model", content=b"")
    write(tmp_path, "WhiteCells", classes=("LY", "MO"), positive="")
    return tmp_path


def test_the_own_model_is_the_default_and_the_shipped_one_is_beside_it(folder):
    found = load(folder)

    assert (found.names, found.default.name) == (["ALLGraph", "WhiteCells"], "ALLGraph")
    assert found.find("WhiteCells").card.classes == ("LY", "MO")


def test_a_model_has_the_name_of_its_file(folder):
    graphs.write(folder / "Model" / "AML", content=b"aml")
    (folder / "Model/AML/ALLGraph.pb").rename(folder / "Model/AML/AMLGraph.pb")
    (folder / "Model/AML/ALLGraph.json").rename(folder / "Model/AML/AMLGraph.json")

    found = load(folder, "ALLGraph=Model/AML/AMLGraph.pb", 'Models=["WhiteCells", "ALLGraph"]')

    assert found.names == ["WhiteCells", "AMLGraph"]
    assert found.default.name == "WhiteCells"


def test_another_model_by_its_file(folder):
    write(folder, "Second")

    found = load(folder, f'Models=["ALLGraph", "{folder}/Model/Second/Second.pb"]')

    assert found.names == ["ALLGraph", "Second"]


def test_without_an_own_model_no_model_is_the_default(folder):
    (folder / "Model/ALLGraph.json").unlink()

    found = load(folder)

    assert (found.names, found.default, found.first.name) == (["WhiteCells"], None, "WhiteCells")
    assert list(found.unavailable) == ["ALLGraph"]


def test_without_the_shipped_model_the_own_one_is_served(folder):
    (folder / "Model/WhiteCells/WhiteCells.json").unlink()

    found = load(folder)

    assert (found.names, list(found.unavailable)) == (["ALLGraph"], ["WhiteCells"])


def test_errors(folder):
    second = folder / "Second/ALLGraph.pb"
    graphs.write(second.parent, content=b"second")

    assert code(folder, 'Models=["Nope"]') == "unknown_model"
    assert code(folder, f'Models=["ALLGraph", "{second}"]') == "duplicate_model"
    (folder / "Model/WhiteCells/WhiteCells.json").write_text("{}")
    assert code(folder) == "card_version"


def test_without_any_model_the_server_does_not_start(tmp_path):
    assert code(tmp_path) == "no_model"


@pytest.mark.parametrize(
    ("settings", "own", "other"),
    [
        (("Device=NCS1", "Precision=f16"), ("NCS1", "f16"), ("CPU", "AUTO")),
        (("Precision=int8",), ("AUTO", "int8"), ("AUTO", "AUTO")),
        (("Device=CPU", "Precision=bf16"), ("CPU", "bf16"), ("CPU", "bf16")),
    ],
)
def test_what_only_the_own_model_can_do_is_not_asked_of_the_others(folder, opened, settings, own, other):
    load(folder, *settings)

    assert opened == [("Model", *own), ("WhiteCells", *other)]


def test_another_model_with_an_int8_form_runs_in_int8(folder, opened):
    hashes = {"xml_sha256": "a" * 64, "bin_sha256": "b" * 64}
    write(folder, "WhiteCells", classes=("LY", "MO"), positive="", int8=hashes)

    load(folder, "Precision=int8")

    assert opened[1] == ("WhiteCells", "AUTO", "int8")
