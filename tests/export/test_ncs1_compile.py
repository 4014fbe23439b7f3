"""Trainer.py Compile with a fake compiler; the checks of its output are real."""

import errno
import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys

import pytest
import tensorflow as tf

import Trainer
from Classes.common import locks
from Classes.common.errors import ConfigurationError, GraphError
from Classes.export import ncs1_compile
from Classes.inference import device_selection, model_card
from tests.support import graphs, waiting
from tests.support import sticks as standin
from tests.support.errors import raises

# Notes its arguments, says what the file `says` holds, writes what `makes` holds, exits with 0 whatever happens.
COMPILER = """
import pathlib, sys
plan = pathlib.Path(__file__).parent
(plan / "arguments").write_text("\\n".join(sys.argv[1:]))
print((plan / "says").read_text())
if (plan / "makes").exists():
    pathlib.Path(sys.argv[sys.argv.index("-o") + 1]).write_bytes((plan / "makes").read_bytes())
"""


class Compiler:
    """A compiler in a folder of its own; `settings` are for the configuration."""

    def __init__(self, folder):
        self.folder = folder / "compiler"
        self.folder.mkdir()
        (self.folder / "compile.py").write_text(COMPILER)
        (self.folder / "says").write_text("mvNCCompile v02.00")
        self.command = shlex.join([sys.executable, str(self.folder / "compile.py")])
        self.settings = [f"StickCompiler={self.command}"]

    def makes(self, content, says="mvNCCompile v02.00"):
        (self.folder / "makes").write_bytes(content)
        (self.folder / "says").write_text(says)

    @property
    def arguments(self):
        return (self.folder / "arguments").read_text().splitlines()


@pytest.fixture
def compiler(tmp_path):
    return Compiler(tmp_path)


def model(folder):
    """(configuration's folder is `folder`) the card of a tiny model, and what its compiler would make."""
    card = model_card.load_model_card(graphs.write(folder / "Model"))
    return card, standin.compiled(card.graph_path.read_bytes())


def test_the_compiled_graph_is_that_of_this_model(tmp_path, compiler, sticks):
    card, content = model(tmp_path)
    compiler.makes(content)
    configuration = graphs.configuration(tmp_path, *compiler.settings, "Device=NCS1", "Precision=AUTO")

    assert ncs1_compile.compile_for_ncs1(configuration) == 0

    assert compiler.arguments == [
        *("-s", "12", "ALLGraph.pb", "-in=input", "-on=InceptionV3/Predictions/Softmax", "-o", "ALL.graph")
    ]
    note = model_card.load_model_card(configuration.card).compiled
    assert note["source_sha256"] == card.graph_sha256
    assert note["sha256"] == hashlib.sha256(content).hexdigest()
    assert (note["stages"], note["shaves"]) == (110, 12)
    with device_selection.open_backend(configuration, model_card.load_model_card(configuration.card)) as engine:
        assert engine.classify(graphs.red(192)[None])[0, 1] == pytest.approx(graphs.RED[192], abs=0.005)


@pytest.mark.parametrize(
    ("content", "says", "code"),
    [
        (None, "mvNCCompile v02.00\n[Error 5] Toolkit Error: Stage Details Not Supported: Exp", "compilation_failed"),
        ("sound", "[Error 13] Toolkit Error: Provided OutputNode/InputNode name does not exist", "compilation_failed"),
        (None, "Traceback\nImportError: no tensorflow", "compilation_failed"),
        (None, "", "compilation_failed"),
        (standin.compiled(b"x")[:-1], "done", "graph_damaged"),
        (standin.compiled(b"x", version=3), "done", "graph_version"),
        (standin.compiled(b"x", softmax=0), "done", "graph_outputs"),
        (standin.compiled(b"x", classes=3), "done", "graph_outputs"),
    ],
)
def test_a_failed_compilation_changes_nothing(tmp_path, compiler, content, says, code):
    card, sound = model(tmp_path)
    if content is not None:
        compiler.makes(sound if content == "sound" else content, says)
    (compiler.folder / "says").write_text(says)
    old = tmp_path / "Model" / "ALL.graph"
    old.write_bytes(b"the graph of yesterday")
    before = card.path.read_bytes()

    with raises(GraphError, code):
        ncs1_compile.compile_for_ncs1(graphs.configuration(tmp_path, *compiler.settings))

    assert old.read_bytes() == b"the graph of yesterday"
    assert card.path.read_bytes() == before


def test_a_missing_compiler_is_an_error(tmp_path):
    model(tmp_path)

    with pytest.raises(ConfigurationError) as error:
        ncs1_compile.compile_for_ncs1(graphs.configuration(tmp_path, "StickCompiler=mvNCCompile-that-nobody-has"))

    assert error.value.code == "compiler_missing"


def test_a_compiler_that_cannot_start_is_an_error(tmp_path):
    model(tmp_path)
    script = tmp_path / "compile"
    script.write_text("no program")
    script.chmod(0o755)

    with pytest.raises(ConfigurationError) as error:
        ncs1_compile.compile_for_ncs1(graphs.configuration(tmp_path, f"StickCompiler={script}"))

    assert error.value.code == "compiler_start"


def test_a_command_with_an_unclosed_quote_is_an_error(tmp_path):
    model(tmp_path)

    with pytest.raises(ConfigurationError) as error:
        ncs1_compile.compile_for_ncs1(graphs.configuration(tmp_path, "StickCompiler=docker run 'x"))

    assert error.value.code == "compiler_quotes"


@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
def test_a_compiler_of_another_user_is_abandoned(tmp_path, monkeypatch):
    """As sudo makes it: no signal reaches it."""
    model(tmp_path)
    monkeypatch.setattr(ncs1_compile, "TIMEOUT", 0.5)

    def refuse(*_):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "killpg", refuse)
    number = tmp_path / "number"
    with pytest.raises(GraphError) as error:
        ncs1_compile.compile_for_ncs1(
            graphs.configuration(tmp_path, f"StickCompiler=sh -c 'echo $$ > {number}; exec sleep {10 * waiting.LIMIT}'")
        )
    assert error.value.code == "timeout"
    compiler = int(waiting.until(lambda: number.exists() and number.read_text().strip()))
    assert standin.state(compiler) != "Z"
    os.kill(compiler, signal.SIGKILL)


def test_a_compiler_that_never_ends_is_killed(tmp_path, monkeypatch):
    model(tmp_path)
    child = tmp_path / "child"

    def late(process, timeout):
        """The deadline has passed as soon as the compiler has started what it waits for."""
        waiting.until(lambda: child.exists() and child.read_text().strip())
        raise subprocess.TimeoutExpired(process.args, timeout)

    monkeypatch.setattr(subprocess.Popen, "communicate", late)
    with pytest.raises(GraphError) as error:
        ncs1_compile.compile_for_ncs1(
            graphs.configuration(
                tmp_path, f"StickCompiler=sh -c 'sleep {10 * waiting.LIMIT} & echo $! > {child}; wait'"
            )
        )

    assert error.value.code == "timeout"
    # It may be a zombie until its parent process waits for it.
    waiting.until(lambda: standin.state(int(child.read_text())) == "Z", "the child's end")


def test_a_container_gets_the_folder(tmp_path, compiler):
    _, content = model(tmp_path)
    compiler.makes(content)
    ncs1_compile.compile_for_ncs1(
        graphs.configuration(tmp_path, f"StickCompiler={compiler.command} --mount {{folder}}:/work")
    )

    mount = compiler.arguments[1]
    assert mount.endswith(":/work")
    assert mount.startswith("/")


def test_a_model_replaced_during_the_compilation_is_not_recorded_as_compiled(tmp_path, compiler, monkeypatch):
    _, content = model(tmp_path)
    compiler.makes(content)
    compile_once = ncs1_compile.run_compiler

    def slowly(*arguments):
        made = compile_once(*arguments)
        # As a training does that ends meanwhile.
        with locks.folder_lock(tmp_path / "Model"):
            graphs.write(tmp_path / "Model", classes=("1", "0"), content=b"another model")
        return made

    monkeypatch.setattr(ncs1_compile, "run_compiler", slowly)
    configuration = graphs.configuration(tmp_path, *compiler.settings)

    with pytest.raises(GraphError) as error:
        ncs1_compile.compile_for_ncs1(configuration)
    assert error.value.code == "model_replaced"
    assert not configuration.path("InceptionGraph").exists()


def test_the_command_line(tmp_path, compiler):
    _, content = model(tmp_path)
    compiler.makes(content)
    settings = [f"NetworkPath={tmp_path}", *compiler.settings]

    assert Trainer.main(["Compile", *(part for text in settings for part in ("--set", text))]) == 0
    assert json.loads((tmp_path / "Model" / "ALLGraph.json").read_text())["compiled"]["file"] == "ALL.graph"


def test_only_attributes_without_effect_are_removed():
    node = tf.compat.v1.NodeDef(name="a", op="Conv2D")
    node.attr["dilations"].list.i.extend([1, 2, 2, 1])
    node.attr["explicit_paddings"].list.SetInParent()
    definition = tf.compat.v1.GraphDef(node=[node])

    ncs1_compile.remove_new_attributes(definition)

    assert set(definition.node[0].attr) == {"dilations"}
    assert ncs1_compile.unsupported_node(definition) == "a (Conv2D)"


def test_other_ops_are_left_and_reported():
    definition = tf.compat.v1.GraphDef(node=[tf.compat.v1.NodeDef(name="a", op="Gelu")])

    ncs1_compile.remove_new_attributes(definition)

    assert ncs1_compile.unsupported_node(definition) == "a (Gelu)"
