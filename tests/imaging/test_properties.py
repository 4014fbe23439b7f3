"""Configuration, manifest and card with anything in any place: what is right is read, the rest is one clear line."""

import json
import os

import hypothesis
import pytest

from Classes import Data, Helpers
from Classes.common import json_files
from Classes.common.errors import ConfigurationError, DataError, GraphError, escape_control_chars
from Classes.dataset import tfrecords
from Classes.inference import model_card
from tests.support import folders, graphs, mutations

SHIPPED = json.loads(Helpers.CONFIGURATION.read_text())
PATHS = ("ALLGraph", "DatasetDir", "LogDir", "TestImagePath", "NetworkPath", "ApiKeyFile")


def check_line(error, name):
    text = escape_control_chars(error)
    assert text.startswith(name)
    assert len(text.splitlines()) == 1


def check_usable(configuration):
    """What a run does with every configuration: ask for its paths, keep it, log it."""
    for key in PATHS:
        # What Python makes a question of, the system's calls make an error.
        assert b"\0" not in os.fsencode(configuration.path(key))
    json.dumps(configuration.values, allow_nan=False, ensure_ascii=False).encode()
    assert all(type(configuration[key]) is int for key in ("Epochs", "Port", "Shards"))


def configured(path, settings=()):
    try:
        configuration = Helpers.load_config(path, settings)
    except ConfigurationError as error:
        check_line(error, str(path) if path else "")
    else:
        check_usable(configuration)


@pytest.mark.slow
@mutations.steady(150)
@hypothesis.given(values=mutations.mutated(SHIPPED))
def test_a_configuration(tmp_path, values):
    path = tmp_path / "confs.json"
    path.write_text(json.dumps(values))

    configured(path)


@mutations.steady(100)
@hypothesis.given(content=mutations.damaged(Helpers.CONFIGURATION.read_bytes()))
def test_a_damaged_configuration(tmp_path, content):
    (tmp_path / "confs.json").write_bytes(content)

    configured(tmp_path / "confs.json")


@pytest.mark.filterwarnings("ignore:Possible:FutureWarning")  # of regular expressions
@pytest.mark.parametrize("key", ["Epochs", "ALLGraph", "ValidIType", "GroupPattern", "LearningRate", "SampleBits"])
@mutations.steady(20)
@hypothesis.given(text=mutations.TEXTS | mutations.VALUES.map(json.dumps))
def test_a_setting(key, text):
    configured(None, [f"{key}={text}"])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """(configuration, manifest's bytes) of toy shards."""
    folder = folders.toys(tmp_path_factory.mktemp("data"))
    configuration = folders.configuration(folder)
    Data.prepare_dataset(configuration)
    return configuration, tfrecords.manifest_path(configuration).read_bytes()


def manifested(data, content):
    """Read `content` as a manifest; what is not refused has to be the one that was written."""
    configuration, written = data
    tfrecords.manifest_path(configuration).write_bytes(written)
    expected = tfrecords.load_manifest(configuration)
    tfrecords.manifest_path(configuration).write_bytes(content)
    try:
        found = tfrecords.load_manifest(configuration)
    except DataError as error:
        check_line(error, str(configuration.path("DatasetDir")))
    else:
        assert (found.classes, found.splits, found.synthetic) == (expected.classes, expected.splits, expected.synthetic)
        assert all(found.paths(split) == expected.paths(split) for split in tfrecords.SPLITS)


@pytest.mark.slow
@mutations.steady(150)
@hypothesis.given(random=hypothesis.strategies.data())
def test_a_manifest(data, random):
    manifested(data, json.dumps(random.draw(mutations.mutated(json.loads(data[1])))).encode())


@mutations.steady(100)
@hypothesis.given(random=hypothesis.strategies.data())
def test_a_damaged_manifest(data, random):
    manifested(data, random.draw(mutations.damaged(data[1])))


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    """(path, bytes) of a card with every field that a card may have."""
    fields = {
        "uncertain": [0.4, 0.6],
        "calibration": {"target_sensitivity": 0.95, "note": "", "honest": None},
        "metrics": {"accuracy": {"value": 0.9, "interval": [0.8, 0.95]}},
        "colours": {"anchors": ["1 2 3 4 5 6 7"], "limit": 2.5},
        "data": {"manifest_sha256": "0" * 64, "train": 10, "validation": 5},
    }
    path = graphs.write(tmp_path_factory.mktemp("card"), content=b"a graph", **fields)
    return path, path.read_bytes()


def carded(path, content):
    path.write_bytes(content)
    try:
        found = model_card.load_model_card(path)
        found.verify_graph()
    except GraphError as error:
        check_line(error, str(path.parent))
        return None
    json.dumps(found.to_json(), allow_nan=False, ensure_ascii=False).encode()
    assert 0 <= found.threshold <= 1 and set(found.positive) <= set(found.classes)
    return found


@pytest.mark.slow
@mutations.steady(200)
@hypothesis.given(random=hypothesis.strategies.data())
def test_a_card_that_someone_wrote(card, random):
    path, content = card
    values = random.draw(mutations.mutated(json.loads(content)))
    values.pop("content_sha256", None)

    carded(path, json.dumps(values).encode())


@pytest.mark.slow
@mutations.steady(150)
@hypothesis.given(random=hypothesis.strategies.data())
def test_a_damaged_card(card, random):
    path, content = card
    path.write_bytes(content)
    expected = model_card.load_model_card(path)

    assert carded(path, random.draw(mutations.damaged(content))) in (None, expected)


@pytest.mark.slow
@mutations.steady(100)
@hypothesis.given(text=mutations.TEXTS | mutations.VALUES.map(json.dumps))
def test_what_is_read_as_json_can_be_written_again(tmp_path, text):
    try:
        values = json_files.parse_json(text)
    except ValueError:
        return
    json_files.write_json(tmp_path / "a.json", values)
    assert json_files.read_json(tmp_path / "a.json") == values
