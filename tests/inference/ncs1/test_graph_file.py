import struct

import pytest

from Classes.common.errors import GraphError
from Classes.inference.ncs1 import graph_file
from tests.support import graphs, sticks

GRAPH = b"the frozen graph"


def test_the_header_tells_stages_and_outputs():
    assert graph_file.read_header(sticks.compiled(GRAPH), "ALL.graph") == graph_file.Header(110, 2)


def test_the_smallest_file_has_one_stage():
    content = sticks.compiled(b"", stages=1)

    assert len(content) == 491
    assert graph_file.check_outputs(content, "ALL.graph", 2).stages == 1
    with pytest.raises(GraphError, match="no graph of the stick's compiler"):
        graph_file.read_header(content[:-1], "ALL.graph")


def patched(offset, value):
    content = bytearray(sticks.compiled(GRAPH))
    struct.pack_into("<I", content, offset, value)
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no graph of the stick's compiler"),
        (b"\x89PNG" + bytes(600), "no graph of the stick's compiler"),
        (sticks.compiled(GRAPH)[:-1], "damaged, .* bytes where its header says"),
        (sticks.compiled(GRAPH) + b"x", "damaged"),
        (sticks.compiled(GRAPH, version=1), "version 1, the stick reads 2"),
        (sticks.compiled(GRAPH, softmax=0), "last stage is no softmax"),
        (patched(240, 0), "0 stages do not fit"),
        (patched(240, 0xFFFFFFFF), "stages do not fit"),
        (patched(244, 0xFFFFFFFF), "stages do not fit"),
        (sticks.compiled(GRAPH, classes=1000), "answers with 1000 numbers, the model has 2 classes"),
    ],
)
def test_another_file_is_refused(content, message):
    with pytest.raises(GraphError, match=message):
        graph_file.check_outputs(content, "ALL.graph", 2)


def test_the_models_own_graph_is_read(tmp_path):
    card = sticks.write(tmp_path)

    assert graph_file.load_graph(tmp_path / "Model" / "ALL.graph", card)[-20:] == card.graph_path.read_bytes()[-20:]


def test_a_graph_of_the_model_before_is_refused(tmp_path):
    card = sticks.write(tmp_path, compiled={"sha256": "0" * 64, "source_sha256": "0" * 64}) and sticks.write(tmp_path)
    newer = graphs.write(tmp_path / "Model", classes=("1", "0"), compiled=card.compiled, graph_sha256="1" * 64)

    with pytest.raises(GraphError, match=r"not known to be compiled from ALLGraph.pb, the model of today"):
        graph_file.load_graph(tmp_path / "Model" / "ALL.graph", type(card)(**{**vars(card), "graph_sha256": "1" * 64}))
    assert newer.exists()


def test_a_missing_or_changed_file_is_refused(tmp_path):
    card = sticks.write(tmp_path)
    path = tmp_path / "Model" / "ALL.graph"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)

    with pytest.raises(GraphError, match="not the file that was compiled"):
        graph_file.load_graph(path, card)
    path.unlink()
    with pytest.raises(GraphError, match=r"no compiled graph .*Trainer.py Compile"):
        graph_file.load_graph(path, card)
