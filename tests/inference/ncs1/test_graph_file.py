import struct

import pytest

from Classes.common.errors import GraphError
from Classes.inference.ncs1 import graph_file
from tests.support import graphs, sticks

GRAPH = b"the frozen graph"


def test_header_states_stages_and_outputs():
    assert graph_file.read_header(sticks.compiled(GRAPH), "ALL.graph") == graph_file.Header(110, 2)


def test_the_smallest_file_has_one_stage():
    content = sticks.compiled(b"", stages=1)

    assert len(content) == 491
    assert graph_file.check_outputs(content, "ALL.graph", 2).stages == 1
    with pytest.raises(GraphError) as caught:
        graph_file.read_header(content[:-1], "ALL.graph")
    assert caught.value.code == "graph_format"


def patched(offset, value):
    content = bytearray(sticks.compiled(GRAPH))
    struct.pack_into("<I", content, offset, value)
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "graph_format"),
        (b"\x89PNG" + bytes(600), "graph_format"),
        (sticks.compiled(GRAPH)[:-1], "graph_damaged"),
        (sticks.compiled(GRAPH) + b"x", "graph_damaged"),
        (sticks.compiled(GRAPH, version=1), "graph_version"),
        (sticks.compiled(GRAPH, softmax=0), "graph_outputs"),
        (patched(240, 0), "graph_damaged"),
        (patched(240, 0xFFFFFFFF), "graph_damaged"),
        (patched(244, 0xFFFFFFFF), "graph_damaged"),
        (sticks.compiled(GRAPH, classes=1000), "graph_outputs"),
    ],
)
def test_another_file_is_rejected(content, code):
    with pytest.raises(GraphError) as caught:
        graph_file.check_outputs(content, "ALL.graph", 2)
    assert caught.value.code == code


def test_the_models_own_graph_is_read(tmp_path):
    card = sticks.write(tmp_path)

    assert graph_file.load_graph(tmp_path / "Model" / "ALL.graph", card)[-20:] == card.graph_path.read_bytes()[-20:]


def test_graph_of_the_previous_model_is_rejected(tmp_path):
    card = sticks.write(tmp_path, compiled={"sha256": "0" * 64, "source_sha256": "0" * 64}) and sticks.write(tmp_path)
    newer = graphs.write(tmp_path / "Model", classes=("1", "0"), compiled=card.compiled, graph_sha256="1" * 64)

    with pytest.raises(GraphError) as caught:
        graph_file.load_graph(tmp_path / "Model" / "ALL.graph", type(card)(**{**vars(card), "graph_sha256": "1" * 64}))
    assert caught.value.code == "graph_of_another_model"
    assert newer.exists()


def test_missing_or_changed_file_is_rejected(tmp_path):
    card = sticks.write(tmp_path)
    path = tmp_path / "Model" / "ALL.graph"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)

    with pytest.raises(GraphError) as caught:
        graph_file.load_graph(path, card)
    assert caught.value.code == "graph_damaged"
    path.unlink()
    with pytest.raises(GraphError) as caught:
        graph_file.load_graph(path, card)
    assert caught.value.code == "graph_missing"
