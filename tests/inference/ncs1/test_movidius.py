import concurrent.futures
import errno
import os
import signal
import socket
import subprocess
import threading

import numpy
import pytest

from Classes import Movidius
from Classes.common.errors import EngineError
from Classes.inference import device_selection
from Classes.inference.ncs1 import device_process, worker
from tests.support import graphs, processes, waiting
from tests.support import sticks as standin
from tests.support.errors import raises
from tests.support.sticks import drivers, wait_until_none_drives

STATUSES = ("ERROR", "OUT_OF_MEMORY", "DEVICE_NOT_FOUND", "INVALID_PARAMETERS", "TIMEOUT", "GONE", "MYRIAD_ERROR")


def opened(folder, card, *settings):
    return device_selection.open_backend(standin.configuration(folder, *settings), card)


def batch(*values):
    return numpy.stack([graphs.red(value) for value in values])


def expected(*values):
    return pytest.approx([graphs.RED[value] for value in values], abs=0.005)


def test_the_stick_computes_the_value_worked_out_by_hand(tmp_path, sticks, caplog):
    caplog.set_level("DEBUG")
    with opened(tmp_path, standin.write(tmp_path)) as engine:
        answers = engine.classify(batch(*graphs.RED))
        telemetry = engine.telemetry()

    assert answers.dtype == numpy.float32
    assert answers[:, 1] == expected(*graphs.RED)
    assert (engine.name, engine.precision) == ("Movidius NCS1", "f16")
    assert telemetry == [
        {"stick": "1.1", "connected": True, "inferences": 6, "failures": 0, "milliseconds": 300.75, "celsius": 41.5}
    ]
    assert "1.1: 300.75 ms on the stick, 41.5 °C" in caplog.messages
    lines = ["Connected To NCS1 successfully.", "Movidius graph allocated successfully."]
    assert [line for line in caplog.messages if line.endswith("successfully.")] == [
        *lines,
        "Inception loaded successfully.",
    ]
    wait_until_none_drives()


def test_an_empty_batch_has_no_results_and_a_wrong_one_is_a_value_error(tmp_path, sticks):
    with opened(tmp_path, standin.write(tmp_path)) as engine:
        assert engine.classify(numpy.zeros((0, 299, 299, 3), "uint8")).shape == (0, 2)
        with pytest.raises(ValueError, match="uint8"):
            engine.classify(numpy.zeros((1, 299, 299, 3), "float16"))


@pytest.mark.slow
def test_eight_threads_get_their_own_results_from_two_sticks(tmp_path, sticks):
    sticks.plan(["1.1", "1.2"])
    values = [value for value in graphs.RED for _ in range(6)]
    with opened(tmp_path, standin.write(tmp_path)) as engine, concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda value: engine.classify(batch(value, 128)), values))
        counts = [each["inferences"] for each in engine.telemetry()]

    for value, answer in zip(values, answers, strict=True):
        assert answer[:, 1] == expected(value, 128)
    assert sum(counts) == 72
    assert min(counts) > 0


def test_a_closed_backend_is_an_error(tmp_path, sticks):
    engine = opened(tmp_path, standin.write(tmp_path))
    engine.close()
    engine.close()

    with raises(EngineError, "backend_closed"):
        engine.classify(batch(0))


def test_a_precision_that_no_stick_has_is_rejected(tmp_path, sticks):
    with raises(EngineError, "no_precision"):
        opened(tmp_path, standin.write(tmp_path), "Precision=f32")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plan", "code"),
    [
        ({"sticks": []}, "ncs1_absent"),
        ({"sticks": ["1.1"], "missing": "library"}, "ncs1_library"),
        ({"sticks": ["1.1"], "missing": "v2"}, "ncs1_version"),
    ],
)
def test_a_missing_part_is_an_error(tmp_path, sticks, plan, code):
    sticks.plan(**plan)

    with raises(EngineError, code) as caught:
        opened(tmp_path, standin.write(tmp_path))
    assert "\n" not in str(caught.value)


def test_without_the_package_no_process_is_started(tmp_path, monkeypatch):
    monkeypatch.setattr(device_process, "WorkerProcess", None)

    with raises(EngineError, "ncs1_package"):
        opened(tmp_path, standin.write(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "fault", "code"),
    [
        ("EnumerateDevices", "ERROR", "ncs1_error"),
        ("OpenDevice", "BUSY", "ncs1_busy"),
        ("OpenDevice", "ERROR", "ncs1_unopened"),
        ("OpenDevice", "MVCMD_NOT_FOUND", "ncs1_mvcmd_not_found"),
        ("OpenDevice", "DEVICE_NOT_FOUND", "ncs1_device_not_found"),
        ("OpenDevice", "hang", "ncs1_timeout"),
        ("LoadTensor", "hang", "ncs1_timeout"),
        ("OpenDevice", "die", "ncs1_exited"),
        ("AllocateGraph", "OUT_OF_MEMORY", "ncs1_out_of_memory"),
        ("AllocateGraph", "UNSUPPORTED_GRAPH_FILE", "ncs1_unsupported_graph_file"),
        ("LoadTensor", "MYRIAD_ERROR", "ncs1_myriad_error"),
        ("GetResult", "nan", "ncs1_invalid_output"),
    ],
)
def test_a_stick_that_fails_at_the_start_is_one_clear_error(tmp_path, sticks, call, fault, code):
    card = standin.write(tmp_path)
    sticks.plan(["1.1"], (call, fault))

    with raises(EngineError, code):
        opened(tmp_path, card)
    wait_until_none_drives()


FAILURES = [
    *(("LoadTensor", status) for status in STATUSES),
    *(("GetResult", status) for status in STATUSES),
    *((call, fault) for call in ("LoadTensor", "GetResult", "GetGraphOption") for fault in ("hang", "die")),
    ("LoadTensor", "BUSY"),
    *(("GetResult", fault) for fault in ("none", "stale", "nan", "short", "double")),
]


@pytest.mark.slow
@pytest.mark.parametrize(("call", "fault"), FAILURES)
def test_with_auto_a_failing_stick_costs_no_image_and_one_line(tmp_path, sticks, caplog, call, fault):
    sticks.plan(["1.1"], (call, fault, {"after": 3}))
    card = standin.write(tmp_path)
    values = list(graphs.RED)
    with opened(tmp_path, card, "Device=AUTO") as engine:
        answers = numpy.concatenate([engine.classify(batch(value)) for value in values])
        assert engine.name == "OpenVINO CPU"
        assert engine.telemetry()[0]["failures"] == 1

    assert answers[:, 1] == expected(*values)
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert line.startswith("Movidius NCS1 1.1: ")
    assert line.endswith("; continuing on OpenVINO CPU")
    wait_until_none_drives()


@pytest.mark.slow
@pytest.mark.parametrize(("call", "fault"), [("GetDeviceOption", "ERROR"), ("GetGraphOption", "ERROR")])
def test_a_stick_without_telemetry_works(tmp_path, sticks, call, fault):
    sticks.plan(["1.1"], (call, fault))
    with opened(tmp_path, standin.write(tmp_path)) as engine:
        assert engine.classify(batch(64))[:, 1] == expected(64)
        telemetry = engine.telemetry()[0]

    assert None in (telemetry["milliseconds"], telemetry["celsius"])


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["ERROR", "hang", "die"])
def test_a_stick_that_does_not_close_is_ended(tmp_path, sticks, fault):
    sticks.plan(["1.1"], ("CloseDevice", fault), ("DeallocateGraph", fault))
    opened(tmp_path, standin.write(tmp_path)).close()

    wait_until_none_drives()


@pytest.mark.slow
def test_without_auto_the_failure_is_an_error(tmp_path, sticks):
    sticks.plan(["1.1"], ("GetResult", "TIMEOUT", {"after": 1}))
    with opened(tmp_path, standin.write(tmp_path)) as engine:
        for _ in range(2):
            with raises(EngineError, "ncs1_timeout"):
                engine.classify(batch(0, 64))


@pytest.mark.slow
def test_another_stick_takes_the_image_that_one_failed_on(tmp_path, sticks, caplog):
    sticks.plan(["1.1", "1.2"], ("LoadTensor", "ERROR", {"stick": "1.2", "after": 2}))
    values = list(graphs.RED) * 2
    with opened(tmp_path, standin.write(tmp_path)) as engine:
        answers = engine.classify(batch(*values))
        assert [each["connected"] for each in engine.telemetry()] == [True, False]

    assert answers[:, 1] == expected(*values)
    assert [line for line in caplog.messages if line.endswith("continuing on 1 other stick(s)")]


def test_a_stick_that_stays_away_keeps_none_of_the_images_it_was_asked_for(tmp_path, sticks, monkeypatch):
    monkeypatch.setattr(Movidius, "RETRY_INTERVAL", 60)
    card = standin.write(tmp_path)
    frames = []
    with Movidius.NCS1Backend(standin.configuration(tmp_path), card, ["1.1"]) as engine:
        sticks.plan([])
        for _ in range(5):
            with raises(EngineError, "ncs1_error") as caught:
                engine.classify(batch(0))
            frames.append(len(caught.traceback))

    assert len(set(frames[1:])) == 1


@pytest.mark.slow
def test_a_stick_that_is_plugged_in_again_elsewhere_is_used_again(tmp_path, sticks, monkeypatch):
    monkeypatch.setattr(Movidius, "RETRY_INTERVAL", 0.2)
    card = standin.write(tmp_path)
    with Movidius.NCS1Backend(standin.configuration(tmp_path), card, ["1.1"]) as engine:
        sticks.plan([])
        with raises(EngineError, "ncs1_error"):
            engine.classify(batch(0))
        sticks.plan(["1.4"])
        waiting.until(lambda: [each["connected"] for each in engine.telemetry()] == [False, True])
        assert engine.classify(batch(192))[:, 1] == expected(192)


@pytest.mark.slow
def test_one_of_two_that_fails_at_the_start_is_taken_when_it_is_well(tmp_path, sticks, monkeypatch):
    monkeypatch.setattr(Movidius, "RETRY_INTERVAL", 0.2)
    sticks.plan(["1.1", "1.2"], ("OpenDevice", "BUSY", {"stick": "1.2"}))
    card = standin.write(tmp_path)
    with Movidius.NCS1Backend(standin.configuration(tmp_path), card, ["1.1", "1.2"]) as engine:
        assert [each["stick"] for each in engine.telemetry()] == ["1.1"]
        sticks.plan(["1.1", "1.2"])
        waiting.until(lambda: len(engine.telemetry()) == 2)


@pytest.mark.slow
def test_a_stopped_driver_is_late_not_a_hang(tmp_path, sticks):
    with opened(tmp_path, standin.write(tmp_path)) as engine:
        for process in drivers():
            processes.pause(process)
        with raises(EngineError, "ncs1_timeout"):
            engine.classify(batch(0))


@pytest.mark.slow
@pytest.mark.parametrize("call", ["EnumerateDevices", "OpenDevice", "AllocateGraph"])
def test_closing_does_not_wait_for_a_lost_stick_that_hangs_on_its_return(tmp_path, sticks, monkeypatch, call):
    sticks.clock.stands = True
    monkeypatch.setattr(Movidius, "RETRY_INTERVAL", 0.1)
    engine = opened(tmp_path, standin.write(tmp_path))
    sticks.plan(["1.1"], ("GetResult", "GONE", {"after": 1}), (call, "hang"))
    with raises(EngineError, "ncs1_gone"):
        engine.classify(batch(0))
    waiting.until(sticks.hanging)
    engine.close()

    wait_until_none_drives()


def test_a_working_stick_is_let_go_in_order(tmp_path, sticks, monkeypatch):
    calls = []
    call = device_process.WorkerProcess.call
    monkeypatch.setattr(
        device_process.WorkerProcess, "call", lambda *arguments: calls.append(arguments[1]) or call(*arguments)
    )
    opened(tmp_path, standin.write(tmp_path)).close()

    assert calls == ["names", "open", "allocate", "infer", "close"]


@pytest.mark.slow
@pytest.mark.parametrize("call", ["OpenDevice", "AllocateGraph", "LoadTensor", "GetResult"])
def test_sticks_that_hang_at_the_start_have_one_time_limit(tmp_path, sticks, call):
    sticks.plan(["1.1", "1.2", "1.3"], (call, "hang"))

    # Each is given a third of 18 s.
    with raises(EngineError, "ncs1_timeout") as caught:
        opened(tmp_path, standin.write(tmp_path))

    assert caught.value.details == "6"
    assert sticks.clock.now == 18
    wait_until_none_drives()


@pytest.mark.slow
def test_a_stick_for_which_no_time_is_left_is_taken_while_another_works(tmp_path, sticks, monkeypatch):
    monkeypatch.setattr(Movidius, "RETRY_INTERVAL", 0.05)
    monkeypatch.setattr(Movidius, "START_BUDGET", device_process.START_TIMEOUT - 0.01)
    sticks.plan(["1.1", "1.2"])
    with opened(tmp_path, standin.write(tmp_path)) as engine:
        assert engine.classify(batch(64))[:, 1] == expected(64)
        waiting.until(lambda: len(engine.telemetry()) == 2)


@pytest.mark.slow
def test_several_sticks_that_hang_cost_an_image_no_more_than_its_patience(tmp_path, sticks):
    names = ["1.1", "1.2", "1.3", "1.4"]
    sticks.plan(names, ("GetResult", "hang", {"after": 1}))
    with opened(tmp_path, standin.write(tmp_path)) as engine:
        with raises(EngineError, "ncs1_timeout"):
            engine.classify(batch(0))
        # After 6 s it is tried on another one, after 12 s no more.
        assert sum(each["failures"] for each in engine.telemetry()) == 2


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["idle", "sending", "inference"])
def test_a_driver_that_is_killed_is_noticed_at_once_even_where_a_child_of_its_lives_on(
    tmp_path, sticks, monkeypatch, moment
):
    sticks.clock.stands = True
    # A send to a process that is stopped gives up after half of it.
    monkeypatch.setattr(device_process, "CALL_TIMEOUTS", {**device_process.CALL_TIMEOUTS, "infer": 2 * waiting.LIMIT})
    card = standin.write(tmp_path)
    sticks.plan(
        ["1.1"], ("OpenDevice", "fork"), *([("GetResult", "hang", {"after": 1})] if moment == "inference" else [])
    )
    sending, call = threading.Event(), device_process.WorkerProcess.call
    with opened(tmp_path, card) as engine, concurrent.futures.ThreadPoolExecutor(1) as pool:
        monkeypatch.setattr(device_process.WorkerProcess, "call", lambda *arguments: sending.set() or call(*arguments))
        (driver,) = drivers()
        if moment == "idle":
            os.kill(driver, signal.SIGKILL)
            wait_until_none_drives()
        if moment == "sending":
            processes.pause(driver)
        job = pool.submit(engine.classify, batch(0))
        if moment != "idle":
            # An image is more than its socket holds, and its child holds the other end open.
            waiting.until(sticks.hanging if moment == "inference" else sending.is_set)
            os.kill(driver, signal.SIGKILL)
        with raises(EngineError, "ncs1_exited"):
            job.result(timeout=waiting.LIMIT)
        (child,) = sticks.forked()
        assert standin.state(child) != "Z"
    sticks.plan([])


@pytest.mark.slow
def test_a_service_manager_that_stops_every_process_ends_no_driver(tmp_path, sticks):
    with opened(tmp_path, standin.write(tmp_path)) as engine:
        for process in drivers():
            os.kill(process, signal.SIGTERM)
            os.kill(process, signal.SIGINT)
        assert engine.classify(batch(64))[:, 1] == expected(64)


@pytest.mark.parametrize("name", ["socketpair", "Popen"])
def test_a_driver_that_cannot_be_started_is_an_error_and_with_auto_the_cpus_work(tmp_path, sticks, monkeypatch, name):
    def refuse(*_, **__):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    card = standin.write(tmp_path)
    monkeypatch.setattr(socket if name == "socketpair" else subprocess, name, refuse)

    with raises(EngineError, "ncs1_start"):
        opened(tmp_path, card)
    with opened(tmp_path, card, "Device=AUTO") as engine:
        assert engine.name == "OpenVINO CPU"


def refuse_threads(monkeypatch, name):
    """What a process limit does to those of this name."""
    start = threading.Thread.start

    def refusing(thread):
        if thread.name == name:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refusing)


def test_a_driver_that_cannot_be_watched_is_an_error_and_with_auto_the_cpus_work(tmp_path, sticks, monkeypatch):
    card = standin.write(tmp_path)
    refuse_threads(monkeypatch, "stick watcher")

    with raises(EngineError, "ncs1_start"):
        opened(tmp_path, card)
    wait_until_none_drives()
    with opened(tmp_path, card, "Device=AUTO") as engine:
        assert engine.name == "OpenVINO CPU"


@pytest.mark.slow
def test_a_lost_stick_is_looked_for_as_soon_as_a_thread_can_be_had(tmp_path, sticks, monkeypatch):
    monkeypatch.setattr(Movidius, "RETRY_INTERVAL", 0.1)
    with opened(tmp_path, standin.write(tmp_path)) as engine:
        sticks.plan(["1.1"], ("GetResult", "GONE", {"after": 1}))
        with monkeypatch.context() as limited:
            refuse_threads(limited, "stick reconnect")
            with raises(EngineError, "ncs1_gone"):
                engine.classify(batch(0))
        sticks.plan(["1.1"])
        with raises(EngineError, "ncs1_gone"):
            engine.classify(batch(0))
        waiting.until(lambda: any(each["connected"] for each in engine.telemetry()))
        assert engine.classify(batch(0)).shape == (1, 2)


def test_closing_does_not_wait_for_a_stick_that_hangs_or_an_image_that_waits(tmp_path, sticks):
    sticks.clock.stands = True
    sticks.plan(["1.1"], ("GetResult", "hang", {"after": 1}))
    engine = opened(tmp_path, standin.write(tmp_path))
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        first = pool.submit(engine.classify, batch(0))
        waiting.until(sticks.hanging)
        # It gets the error whether it waits before the backend is closed or arrives after.
        second = pool.submit(engine.classify, batch(0))
        waiting.until(second.running)
        engine.close()
        for job in (first, second):
            with pytest.raises(EngineError):
                job.result()
    wait_until_none_drives()


@pytest.mark.slow
def test_a_start_that_cannot_even_be_killed_takes_no_longer_than_it_may(tmp_path, sticks, monkeypatch):
    card = standin.write(tmp_path)
    sticks.plan(["1.1"], ("OpenDevice", "stop"))
    started, kill = [], device_process.WorkerProcess.kill
    with monkeypatch.context() as unkillable:
        unkillable.setattr(device_process.WorkerProcess, "kill", lambda process: started.append(process))
        with raises(EngineError, "ncs1_timeout"):
            opened(tmp_path, card)
        # Nobody has waited for its end, which does not come.
        assert drivers()
    assert sticks.clock.now == 18
    for process in started:
        kill(process)


@pytest.mark.slow
def test_a_driver_that_cannot_even_be_killed_is_left_alone(tmp_path, sticks, monkeypatch):
    sticks.plan(["1.1"], ("GetResult", "stop", {"after": 1}))
    with opened(tmp_path, standin.write(tmp_path)) as engine:
        with monkeypatch.context() as unkillable:
            unkillable.setattr(device_process.WorkerProcess, "kill", lambda process: None)
            with raises(EngineError, "ncs1_timeout"):
                engine.classify(batch(0))
        for driver in drivers():
            os.kill(driver, signal.SIGKILL)
    wait_until_none_drives()


@pytest.mark.parametrize(
    "tensor",
    [
        numpy.zeros((299, 299, 3), "float32"),
        numpy.zeros((299, 299, 3), "uint8"),
        numpy.zeros((1, 299, 299, 3), "float16"),
        numpy.zeros((299, 299, 4), "float16"),
    ],
)
def test_no_other_tensor_reaches_the_stick(tensor):
    with pytest.raises(worker.DriverError) as caught:
        worker.validate_tensor(tensor, 299)
    assert caught.value.args[0] == "tensor"


KILLED = """
import os, pathlib, sys
sys.path.insert(0, sys.argv[2])
from Classes.inference import device_selection, model_card
from tests.support import sticks

folder = pathlib.Path(sys.argv[1])
card = model_card.load_model_card(folder / "Model" / "ALLGraph.json")
engine = device_selection.open_backend(sticks.configuration(folder), card)
print(*sticks.drivers(), flush=True)
if sys.argv[3] == "hang":
    stick = sticks.Sticks(folder / "plan.json")
    stick.plan(["1.1"], ("GetResult", "hang"))
    import threading
    from tests.support import graphs, waiting
    threading.Thread(target=engine.classify, args=[graphs.red(0)[None]], daemon=True).start()
    waiting.until(stick.hanging)
os.kill(os.getpid(), 9)
"""


@pytest.mark.slow
@pytest.mark.parametrize("state", ["idle", "hang"])
def test_a_killed_program_leaves_no_driver_behind(tmp_path, sticks, state):
    standin.write(tmp_path)
    process = processes.python(KILLED, arguments=[str(tmp_path), str(standin.FOLDER), state])

    driver = int(process.stdout)
    waiting.until(lambda: standin.state(driver) == "Z")
