import concurrent.futures
import os
import threading
import types

import numpy
import pytest

from Classes.common.errors import EngineError, GraphError
from Classes.inference import device_selection, failover, model_card, openvino_backend, openvino_devices
from Classes.inference.backend import InferenceBackend
from tests.support import graphs, waiting
from tests.support import sticks as standin
from tests.support.errors import raises


def opened(folder, *settings):
    configuration = graphs.configuration(folder, "Precision=AUTO", *settings)
    return device_selection.open_backend(configuration, model_card.load_model_card(configuration.card))


def choice(caplog):
    (line,) = [line for line in caplog.messages if line.startswith("Device=AUTO took")]
    return line


def test_auto_takes_the_stick_if_everything_is_available(tmp_path, sticks, caplog):
    caplog.set_level("INFO")
    standin.write(tmp_path)
    with opened(tmp_path) as engine:
        assert engine.name == "Movidius NCS1"
    assert choice(caplog) == "Device=AUTO took Movidius NCS1 (f16)"


def test_auto_without_the_package_says_why_it_took_the_cpu(tmp_path, caplog):
    caplog.set_level("INFO")
    standin.write(tmp_path)
    with opened(tmp_path) as engine:
        assert engine.name == "OpenVINO CPU"
    line = choice(caplog)
    assert line.startswith("Device=AUTO took OpenVINO CPU (")
    assert line.endswith("; not NCS1: Movidius NCS1: the mvnc package is not installed; not GPU: OpenVINO lists none")
    assert "Connected To OpenVINO CPU" in caplog.text


def test_auto_says_why_it_took_no_device_of_another_kind(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(
        openvino_devices, "list_openvino_devices", lambda: [("CPU", "Xeon"), ("NPU", "AI Boost"), ("MYRIAD", "Stick 2")]
    )
    graphs.write(tmp_path / "Model")
    opened(tmp_path).close()

    assert choice(caplog).endswith("; not NPU: saves power rather than time; not MYRIAD: saves power rather than time")


def test_auto_takes_a_stick_whose_precision_the_cpu_lacks(tmp_path, sticks, monkeypatch, caplog):
    caplog.set_level("INFO")
    openvino_engine = openvino_backend.OpenVINOBackend

    def without_f16(card, device, precision, cache):
        if precision == "f16":
            raise EngineError("Precision=f16: CPU has no f16 arithmetic, only f32; set Precision=AUTO", "no_precision")
        return openvino_engine(card, device, precision, cache)

    monkeypatch.setattr(openvino_backend, "OpenVINOBackend", without_f16)
    standin.write(tmp_path)
    with opened(tmp_path, "Precision=f16") as engine:
        assert (engine.name, engine.precision) == ("Movidius NCS1", "f16")
    assert choice(caplog).endswith("; not CPU: Precision=f16: CPU has no f16 arithmetic, only f32")

    sticks.plan([])
    with raises(EngineError, "no_precision"):
        opened(tmp_path, "Precision=f16")


def test_auto_does_not_take_a_stick_for_another_models_graph(tmp_path, sticks, caplog):
    caplog.set_level("INFO")
    graphs.write(tmp_path / "Model")
    with opened(tmp_path) as engine:
        assert engine.name == "OpenVINO CPU"
    assert "ALL.graph: no compiled graph" in choice(caplog)


def test_a_named_stick_without_its_graph_is_an_error(tmp_path, sticks):
    graphs.write(tmp_path / "Model")
    with raises(GraphError, "graph_missing"):
        opened(tmp_path, "Device=ncs1")


@pytest.mark.parametrize("name", ["MYRIAD", "NPU", "Toaster"])
def test_a_named_device_that_is_not_there_names_what_was_found(tmp_path, name):
    graphs.write(tmp_path / "Model")
    with raises(EngineError, "no_device"):
        opened(tmp_path, f"Device={name}")


def test_the_list_has_every_device_with_its_time(tmp_path, sticks, capsys):
    standin.write(tmp_path)
    assert device_selection.list_devices(graphs.configuration(tmp_path, "Precision=AUTO")) == 0

    head, stick, *others = capsys.readouterr().out.splitlines()
    assert head.split() == ["Device", "What", "it", "is", "Precision", "Time", "per", "image"]
    assert stick.startswith("NCS1    Movidius stick 1.1")
    assert stick.endswith(" ms")
    assert [line for line in others if line.startswith("CPU ") and line.endswith(" ms")]


def test_the_list_without_model_and_stick_says_so(tmp_path, capsys):
    device_selection.list_devices(graphs.configuration(tmp_path))

    _, stick, *others = capsys.readouterr().out.splitlines()
    assert "not there" in stick
    assert "the mvnc package is not installed" in stick
    assert all(line.endswith("no model yet") for line in others)


class Fake(InferenceBackend):
    name = ""
    precision = "f32"

    def __init__(self, name):
        self.name, self.calls, self.error = name, 0, None

    def classify(self, batch):
        self.calls += 1
        if self.error:
            raise self.error
        return numpy.full((len(batch), 2), 0.5, "float32")

    def close(self):
        self.error = EngineError("closed", "backend_closed")


def test_a_device_rests_after_a_failure_and_is_tried_again(caplog, monkeypatch):
    clock = types.SimpleNamespace(now=0)
    monkeypatch.setattr(failover, "time", types.SimpleNamespace(monotonic=lambda: clock.now))
    caplog.set_level("INFO")
    device, cpu = Fake("OpenVINO GPU"), Fake("OpenVINO CPU")
    engine = failover.FailoverBackend(device, cpu)
    device.error = EngineError("GPU: failed")
    names = []
    for _ in range(3):
        engine.classify(numpy.zeros((1, 8, 8, 3), "uint8"))
        names.append(engine.name)
    clock.now += failover.RETRY_INTERVAL
    device.error = None
    engine.classify(numpy.zeros((1, 8, 8, 3), "uint8"))

    assert names == ["OpenVINO CPU"] * 3
    assert (device.calls, cpu.calls, engine.name) == (2, 3, "OpenVINO GPU")
    assert caplog.messages == ["GPU: failed; continuing on OpenVINO CPU", "OpenVINO GPU works again."]
    assert engine.telemetry() == []


def test_a_failure_that_strikes_several_images_at_once_is_one_line(caplog):
    together = threading.Barrier(4)

    class Failing(Fake):
        def classify(self, batch):
            together.wait(waiting.LIMIT)
            raise EngineError("GPU: failed")

    engine = failover.FailoverBackend(Failing("OpenVINO GPU"), Fake("OpenVINO CPU"))
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(engine.classify, [numpy.zeros((1, 8, 8, 3), "uint8")] * 4))

    assert len(answers) == 4
    assert caplog.messages == ["GPU: failed; continuing on OpenVINO CPU"]


def test_if_both_fail_the_error_is_that_of_the_cpu():
    device, cpu = Fake("OpenVINO GPU"), Fake("OpenVINO CPU")
    with failover.FailoverBackend(device, cpu) as engine:
        pass
    with raises(EngineError, "backend_closed"):
        engine.classify(numpy.zeros((1, 8, 8, 3), "uint8"))


class Core:
    """OpenVINO on a machine of other devices."""

    def __init__(self):
        self.names = {
            "CPU": "Xeon", "GPU.0": "UHD (iGPU)", "GPU.1": "Arc (dGPU)", "NPU": "AI Boost", "MYRIAD": "Stick 2"
        }  # fmt: skip
        self.capabilities = {
            "CPU": ["FP32", "INT8"],
            "GPU.0": ["FP32", "FP16"],
            "GPU.1": ["FP32", "FP16"],
            "NPU": ["FP16", "INT8"],
            "MYRIAD": ["FP16"],
        }
        self.available_devices = list(self.names)

    def get_property(self, device, name):
        return {"FULL_DEVICE_NAME": self.names, "OPTIMIZATION_CAPABILITIES": self.capabilities}[name][device]


def test_accelerators_are_graphics_processors_with_own_memory_first(monkeypatch):
    monkeypatch.setattr(openvino_devices, "new_core", Core)

    assert openvino_devices.list_accelerators() == ["GPU.1", "GPU.0"]
    assert openvino_devices.list_openvino_devices()[0] == ("CPU", "Xeon")


@pytest.mark.parametrize(
    ("wanted", "device", "found"),
    [("AUTO", "GPU.0", "f16"), ("f32", "GPU.0", "f32"), ("AUTO", "NPU", "f16"), ("AUTO", "CPU", "f32")],
)
def test_a_device_computes_in_what_it_has(wanted, device, found):
    assert openvino_devices.resolve_precision(wanted, device, Core()) == found


@pytest.mark.parametrize(("wanted", "device"), [("f32", "NPU"), ("bf16", "GPU.0"), ("f16", "CPU"), ("f32", "MYRIAD")])
def test_a_precision_that_a_device_lacks_is_rejected(wanted, device):
    with raises(EngineError, "no_precision"):
        openvino_devices.resolve_precision(wanted, device, Core())


def test_a_device_with_a_broken_driver_is_an_error_and_auto_skips_it(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    core = openvino_devices.new_core()

    class Broken:
        def __init__(self):
            self.available_devices = ["CPU", "GPU"]

        def __getattr__(self, name):
            return getattr(core, name)

        def get_property(self, device, name):
            if device == "GPU" and name == "OPTIMIZATION_CAPABILITIES":
                raise RuntimeError("Exception from src/core.cpp:1:\nclGetPlatformIDs error -1001")
            return "GPU" if device == "GPU" else core.get_property(device, name)

    monkeypatch.setattr(openvino_devices, "new_core", Broken)
    graphs.write(tmp_path / "Model")

    with opened(tmp_path) as engine:
        assert engine.name == "OpenVINO CPU"
    assert "not GPU: GPU: its driver does not answer (clGetPlatformIDs error -1001)" in choice(caplog)
    with raises(EngineError, "device_driver"):
        opened(tmp_path, "Device=GPU")


class Disguised:
    """OpenVINO with a graphics processor that is this processor."""

    def __init__(self):
        self._core = openvino_devices.openvino_api.Core()
        self.available_devices = ["CPU", "GPU"]
        self.read_model, self.set_property = self._core.read_model, self._core.set_property

    def get_property(self, device, name):
        return self._core.get_property("CPU", name)

    def compile_model(self, model, device, options):
        return self._core.compile_model(model, "CPU", options)


def test_what_a_device_compiled_is_kept_for_the_next_start(tmp_path, monkeypatch):
    monkeypatch.setattr(openvino_devices, "new_core", Disguised)
    card = model_card.load_model_card(graphs.write(tmp_path / "Model"))
    cache = tmp_path / "Cache"
    former = [cache / f"{number:016x}" for number in range(12)]
    other, foreign = cache / "notes", cache / ("f" * 16)
    for age, folder in enumerate([*former, other, foreign]):
        folder.mkdir(parents=True)
        (folder / ("blood.jpg" if folder == foreign else "1.blob")).touch()
        os.utime(folder, (age, age))

    kept = set()
    for _ in range(2):
        with openvino_backend.OpenVINOBackend(card, "GPU", "f32", cache) as engine:
            assert engine.name == "OpenVINO GPU"
            assert engine.classify(graphs.red(64)[None])[0, 1] == pytest.approx(graphs.RED[64], abs=1e-6)

        kept |= {(path, path.stat().st_mtime_ns) for path in (cache / card.graph_sha256[:16]).iterdir()}

    # Written by the first start, and not again.
    assert len(kept) == 1
    mine = cache / card.graph_sha256[:16]
    assert sorted(cache.iterdir()) == sorted([mine, other, foreign, *former[-7:]]), "only the oldest of many models go"


def test_two_models_share_a_cache_folder(tmp_path, monkeypatch):
    pytest.importorskip("tensorflow", reason="graphs of two sizes are built by TensorFlow")
    monkeypatch.setattr(openvino_devices, "new_core", Disguised)
    cards = [
        model_card.load_model_card(graphs.write(tmp_path / name, size=size)) for name, size in (("a", 32), ("b", 48))
    ]
    cache = tmp_path / "Cache"

    found = []
    for card in (*cards, *cards):
        openvino_backend.OpenVINOBackend(card, "GPU", "f32", cache).close()
        found.append({(path, path.stat().st_mtime_ns) for path in cache.glob("*/*.blob")})

    assert [len(each) for each in found] == [1, 2, 2, 2]
    assert found[1] == found[3], "each starts from what it compiled first"


def test_a_cache_that_cannot_be_written_costs_a_line(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(openvino_devices, "new_core", Disguised)
    card = model_card.load_model_card(graphs.write(tmp_path / "Model"))
    (tmp_path / "Cache").write_text("a file")

    with openvino_backend.OpenVINOBackend(card, "GPU", "f32", tmp_path / "Cache") as engine:
        assert engine.classify(graphs.red(64)[None])[0, 1] == pytest.approx(graphs.RED[64], abs=1e-6)

    assert caplog.messages[0].endswith("; the model is compiled again at every start")


@pytest.mark.slow
@pytest.mark.parametrize("call", ["EnumerateDevices", "OpenDevice", "AllocateGraph", "LoadTensor"])
def test_auto_does_without_a_stick_that_hangs_at_the_start(tmp_path, sticks, caplog, call):
    caplog.set_level("INFO")
    standin.write(tmp_path)
    sticks.plan(["1.1"], (call, "hang"))

    with opened(tmp_path) as engine:
        assert engine.name == "OpenVINO CPU"
        assert engine.classify(graphs.red(64)[None])[0, 1] == pytest.approx(graphs.RED[64], abs=0.01)
    assert "not NCS1: Movidius NCS1" in choice(caplog)
    assert "no answer within" in choice(caplog)
