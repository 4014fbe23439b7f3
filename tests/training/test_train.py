import json
import math
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys

import numpy
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.util import tensor_util

from Classes import Data, Helpers
from Classes.common.errors import ALLError, ConfigurationError, DataError, TrainingError
from Classes.dataset import input_pipeline, tfrecords
from Classes.evaluation import operating_point, runs
from Classes.export import freeze_graph
from Classes.imaging import network_input
from Classes.inference import device_selection, model_card, openvino_devices
from Classes.networks import checkpoint_files, registry
from Classes.training import linear_probe, loop, mixed_precision, run_identity, streaming_metrics, train
from tests.support import small_networks, smears, waiting
from tests.support.errors import raises
from tests.support.processes import held

QUICK = ("Epochs=6", "LearningRate=0.01", "Shards=2", "BatchSize=5")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A project folder with sharded toy smears and a random backbone to start from."""
    folder = tmp_path_factory.mktemp("project")
    smears.fill(folder, per_class=20)
    configuration = small_networks.configuration(folder, *QUICK)
    Data.prepare_dataset(configuration)
    checkpoint_files.save_checkpoint(folder / "Model/Pretrained", 1, small_networks.arrays(classes=7))
    return folder


@pytest.fixture
def project(prepared, tmp_path):
    """The prepared folder with run, features and model of its own."""
    own = [f"{key}={tmp_path / name}" for key, name in (("LogDir", "log"), ("ALLGraph", "ALLGraph.pb"))]

    def make(*settings):
        return small_networks.configuration(prepared, *QUICK, *own, *settings)

    return make


def weights(configuration):
    return checkpoint_files.latest_checkpoint(configuration.path("LogDir"))[1]


def assert_same(one, other):
    assert set(one) == set(other)
    for name in one:
        numpy.testing.assert_array_equal(one[name], other[name], err_msg=name)


@pytest.mark.slow
def test_transfer_learning_from_shards_to_a_prediction(project, caplog):
    caplog.set_level("INFO")
    configuration = project("Epochs=40")

    assert train.train_and_freeze(configuration) == 0

    text = caplog.text
    assert re.search(r" Epch 2\.00 Glb Stp \d+: Loss: \d\.\d{4} \(\d+\.\d\d sec/step\)", text)
    assert "Final Loss: 0." in text
    assert "Finished training! Saving model to disk now." in text
    assert "Froze 378 variables." in text
    assert re.search(r"Trainer ended in \d+\.\d+", text)
    accuracy = float(re.search(r"Final Accuracy: (\S+)", text)[1])
    assert accuracy >= 0.8, "toy smears are easy even for a random backbone"
    card = model_card.load_model_card(configuration.card)
    engine = device_selection.open_backend(configuration, card)
    images = [network_input.center_crop_resize(smears.cell(positive, 999), small_networks.SIZE) for positive in (0, 1)]
    answers = engine.classify(numpy.stack(images))
    engine.close()
    assert answers.argmax(1).tolist() == [0, 1]


@pytest.mark.slow
def test_a_run_says_what_it_was(project):
    configuration = project("Epochs=1", "LabelSmoothing=0.125")
    train.train_and_freeze(configuration)

    run = json.loads((configuration.path("LogDir") / "run.json").read_text())

    assert run["configuration"]["Training"]["Epochs"] == 1
    assert "tensorflow" in run["versions"]
    assert len(run["manifest_sha256"]) == 64
    (events,) = configuration.path("LogDir").glob("events.out.tfevents.*")
    shown = [value for event in EventFileLoader(str(events)).Load() for value in event.summary.value]
    (table,) = [tensor_util.make_ndarray(value.tensor).item() for value in shown if value.tag == "Settings"]
    assert b"| LabelSmoothing | 0.125 |\n" in table
    assert b"| Epochs | 1 |\n" in table


@pytest.mark.slow
def test_two_runs_give_the_same_weights(project):
    found = []
    for name in ("a", "b"):
        configuration = project(f"LogDir={name}")
        train.train_and_freeze(configuration)
        found.append(weights(configuration))

    assert_same(*found)


@pytest.mark.slow
def test_a_longer_run_continues_and_ends_as_one_that_never_stopped(project, caplog):
    caplog.set_level("INFO")
    train.train_and_freeze(project("Epochs=2", "LogDir=twice"))
    train.train_and_freeze(project("Epochs=5", "LogDir=twice"))
    train.train_and_freeze(project("Epochs=5", "LogDir=once"))

    assert "Continuing after step" in caplog.text
    assert_same(weights(project("LogDir=twice")), weights(project("LogDir=once")))


@pytest.mark.slow
def test_a_run_is_kept_and_a_longer_one_starts_with_its_results(project, tmp_path):
    folder = f"RunsDir={tmp_path / 'Runs'}"
    train.train_and_freeze(project("Epochs=2", folder))
    train.train_and_freeze(project("Epochs=2", folder))
    configuration = project("Epochs=3", folder)
    train.train_and_freeze(configuration)

    first, second = runs.list_runs(tmp_path / "Runs")
    assert [row["epoch"] for row in runs.read_results(first)] == [1, 2]
    assert [row["epoch"] for row in runs.read_results(second)] == [1, 2, 3]
    assert runs.read_results(second)[:2] == runs.read_results(first)
    assert runs.read_run(second)["continues"] == first.name
    assert runs.read_settings(first)["Epochs"] == 2
    assert (second / "ALLGraph.pb").read_bytes() == configuration.path("ALLGraph").read_bytes()
    kept = checkpoint_files.read_checkpoint(second / f"model.ckpt-{runs.read_run(second)['step']}")
    assert_same(kept, weights(configuration))


@pytest.mark.slow
def test_a_finished_run_is_not_trained_again(project):
    configuration = project()
    train.train_and_freeze(configuration)
    before = weights(configuration)

    train.train_and_freeze(configuration)

    assert_same(weights(configuration), before)


def test_every_configuration_key_is_declared_to_change_the_run_or_not():
    values = Helpers.load_config().values
    sections = [*run_identity.IDENTITY_SECTIONS, *run_identity.OTHER_SECTIONS]
    keys = [*run_identity.IDENTITY_KEYS, *run_identity.HASHED_KEYS, *run_identity.NEUTRAL_KEYS]

    assert sorted(sections) == sorted(values.keys() - {"Settings", "Data"})
    assert sorted(keys) == sorted([*values["Settings"], *values["Data"]])
    assert {*run_identity.LENGTH_KEYS, *run_identity.OUTPUT_KEYS} <= values["Training"].keys()


@pytest.mark.slow
def test_a_last_layer_does_not_go_on_on_features_of_another_precision(project, monkeypatch):
    train.train_and_freeze(project("Epochs=1"))
    first = weights(project())
    monkeypatch.setattr(openvino_devices, "cpu_precision", lambda wanted: "bf16")

    train.train_and_freeze(project("Epochs=1", "Precision=AUTO"))

    assert_same(checkpoint_files.latest_checkpoint(project().path("LogDir").with_name("log-1"))[1], first)


@pytest.mark.slow
def test_a_finished_network_is_trained_again_from_other_weights(project, prepared, tmp_path):
    other = tmp_path / "other"
    settings = ("TrainableScopes=Mixed_7c", "Epochs=1", f"Pretrained={other}", "BatchSize=12")
    shutil.copytree(prepared / "Model/Pretrained", other)
    train.train_and_freeze(project(*settings))
    shutil.rmtree(other)
    checkpoint_files.save_checkpoint(other, 1, small_networks.arrays(seed=1, classes=7))

    train.train_and_freeze(project(*settings))

    found = weights(project())
    frozen = small_networks.arrays(seed=1, classes=7)
    name = "InceptionV3/Conv2d_1a_3x3/weights"
    numpy.testing.assert_array_equal(found[name], frozen[name])


@pytest.mark.slow
def test_the_shards_are_read_in_another_order_in_every_epoch(project, monkeypatch):
    monkeypatch.setattr(input_pipeline, "SHUFFLE_BUFFER", 1)
    configuration = project("BatchSize=1", "DistortionFlip=false", "DistortionArea=1")
    manifest = tfrecords.load_manifest(configuration)
    view = registry.get_network(configuration).input_spec(configuration)

    def labels(epoch):
        return [int(label[0]) for _, label in input_pipeline.train_dataset(configuration, manifest, view, epoch)]

    orders = [labels(epoch) for epoch in (0, 1, 2, 3, 0)]

    assert orders[0] == orders[-1]
    assert all(sorted(order) == sorted(orders[0]) for order in orders)
    assert len({tuple(order) for order in orders}) > 1


def test_images_can_be_used_several_times_and_a_resumed_epoch_goes_on(project, prepared):
    configuration = project("BatchSize=4")
    manifest = tfrecords.load_manifest(configuration)
    view = registry.get_network(configuration).input_spec(configuration)
    labels = [item["label"] for item in manifest.splits["train"]]
    uses = numpy.zeros(len(labels), int)
    first = [labels.index(0), labels.index(1)]
    uses[first] = [len(labels) - 3, 3]

    def batches(skip=0):
        found = input_pipeline.train_dataset(configuration, manifest, view, 0, skip, uses=uses)
        return [(images.numpy(), label.numpy()) for images, label in found]

    whole = batches()
    drawn = numpy.concatenate([label for _, label in whole])
    assert len(drawn) == len(labels) // 4 * 4
    assert 0 < (drawn == 1).sum() <= 3
    for (images, label), (later, later_label) in zip(whole[2:], batches(2), strict=True):
        numpy.testing.assert_array_equal(images, later)
        numpy.testing.assert_array_equal(label, later_label)


@pytest.mark.slow
def test_another_run_is_moved_aside(project, caplog):
    caplog.set_level("INFO")
    train.train_and_freeze(project("Epochs=1"))
    first = weights(project())

    train.train_and_freeze(project("Epochs=1", "LearningRate=0.02"))

    log = project().path("LogDir")
    assert_same(checkpoint_files.latest_checkpoint(log.with_name("log-1"))[1], first)
    assert "it was moved to" in caplog.text


@pytest.mark.slow
def test_one_folder_for_all_of_a_run_of_which_only_its_own_files_are_moved_aside(project, tmp_path):
    from Classes.evaluation import evaluate, tensorboard_events

    one = tmp_path / "one"
    for name in ("Data/0/cell.png", "Pretrained/weights.h5", "best/notes.txt", "notes.txt"):
        (one / name).parent.mkdir(parents=True, exist_ok=True)
        (one / name).write_text("the user's")
    places = [f"{key}={one}" for key in ("LogDir", "LogDirEval", "ReportDir", "CacheDir", "CaptureDir")]
    places.append(f"ALLGraph={one / 'ALLGraph.pb'}")

    train.train_and_freeze(project("Epochs=1", *places))
    trained = {path.relative_to(one) for path in one.rglob("*") if path.is_file()}
    curves = tensorboard_events.read_scalars(one)
    assert evaluate.evaluate_model(project(*places)) == 0

    assert tensorboard_events.read_scalars(one) == curves
    assert "Training_losses/Total_Loss" in curves
    train.train_and_freeze(project("Epochs=1", "LearningRate=0.02", *places))

    there = {str(path.relative_to(one)) for path in one.rglob("*") if path.is_file()}
    aside = {path.relative_to(tmp_path / "one-1") for path in (tmp_path / "one-1").rglob("*") if path.is_file()}
    users = {"Data/0/cell.png", "Pretrained/weights.h5", "best/notes.txt", "notes.txt"}
    assert there >= users | {"ALLGraph.pb", "ALLGraph.json", "metrics.json", "Report.html", "MODEL_CARD.md"}
    assert {str(path) for path in aside} == {
        str(path) for path in trained if not path.name.startswith("ALLGraph") and str(path) not in users | {".lock"}
    }
    assert any(path.name == "run.json" for path in aside)
    assert tensorboard_events.read_scalars(tmp_path / "one-1") == curves
    assert not list((tmp_path / "one-1").glob("*.validation"))


@pytest.mark.slow
@pytest.mark.parametrize("mistyped", ["TrainableScopes=Mixed_8", "Pretrained=nowhere", "ClassWeights=[1,2,3]"])
def test_a_mistyped_setting_moves_no_run(project, mistyped):
    train.train_and_freeze(project("Epochs=1"))
    log = project().path("LogDir")
    first = weights(project())

    with pytest.raises(ALLError):
        train.train_and_freeze(project("Epochs=1", mistyped))

    assert_same(weights(project()), first)
    assert not log.with_name("log-1").exists()


@pytest.mark.slow
def test_a_run_that_was_killed_while_it_moved_another_aside_moves_the_rest(project, monkeypatch):
    train.train_and_freeze(project("Epochs=1"))
    log = project().path("LogDir")
    first, names = weights(project()), {path.name for path in log.iterdir()} - {".lock"}
    rename, moved = pathlib.Path.replace, []

    def killed(self, target):
        if len(moved) == 2:
            raise SystemError
        moved.append(self)
        return rename(self, target)

    with monkeypatch.context() as patch, pytest.raises(SystemError):
        patch.setattr(pathlib.Path, "replace", killed)
        train.train_and_freeze(project("Epochs=1", "LearningRate=0.02"))
    assert not log.with_name("log-1").exists()

    train.train_and_freeze(project("Epochs=1", "LearningRate=0.02"))

    assert {path.name for path in log.with_name("log-1").iterdir()} == names
    assert_same(checkpoint_files.latest_checkpoint(log.with_name("log-1"))[1], first)


@pytest.mark.slow
def test_a_loss_that_is_no_number_stops_the_run(project, monkeypatch):
    monkeypatch.setattr(linear_probe.LinearProbe, "train_step", lambda *_: (math.nan, 0, 5, None, False))

    with pytest.raises(TrainingError) as raised:
        train.train_and_freeze(project())

    assert raised.value.code == "loss_not_finite"


def test_patience_ends_a_run_and_freezes_its_best_epoch(project, monkeypatch, caplog):
    caplog.set_level("INFO")
    losses = iter([0.5, 0.4, 0.45, 0.41, 0.3])
    monkeypatch.setattr(
        linear_probe.LinearProbe,
        "evaluate",
        lambda _: (next(losses), 0.5, numpy.zeros((2, streaming_metrics.BINS), int)),
    )
    configuration = project("Patience=2", "LogDir=patient", "Epochs=5")

    train.train_and_freeze(configuration)

    steps = model_card.load_model_card(configuration.card).training["step"] // 2
    assert "Stopped: no smaller validation loss since epoch 2." in caplog.text
    assert "The best epoch was 2, with validation loss 0.4000." in caplog.text
    best = checkpoint_files.saved_steps(configuration.path("LogDir") / "best")[-1]
    end = checkpoint_files.saved_steps(configuration.path("LogDir"))[-1]
    assert (best, end) == (2 * steps, 4 * steps)
    assert model_card.load_model_card(configuration.card).training["step"] == best


@pytest.mark.slow
def test_averaged_weights_are_the_ones_that_are_frozen(project):
    settings = ("TrainableScopes=Mixed_7c", "Epochs=1", "EmaDecay=0.5", "LogDir=averaged", "LearningRate=0.01")
    configuration = project(*settings)

    train.train_and_freeze(configuration)

    name = "InceptionV3/Logits/Conv2d_1c_1x1/biases"
    saved = weights(configuration)
    assert not numpy.array_equal(saved[name], saved[f"average/{name}"])
    [frozen] = [node.attr["value"].tensor for node in graph(configuration).node if node.name == name]
    numpy.testing.assert_array_equal(tf.make_ndarray(frozen), saved[f"average/{name}"])


def graph(configuration):
    return tf.compat.v1.GraphDef.FromString(configuration.path("ALLGraph").read_bytes())


def before_a_step(trainer, call, batch, step, asked):
    if step == 7:
        raise KeyboardInterrupt
    return call(trainer, batch, step, asked)


def within_a_step(trainer, call, batch, step, asked):
    done = call(trainer, batch, step, asked)
    if step == 6:
        # TensorFlow has changed the weights; nobody has counted the step yet.
        signal.raise_signal(signal.SIGINT)
    return done


def in_the_validation(trainer, call):
    if trainer._steps.numpy() == 10:
        raise KeyboardInterrupt
    return call(trainer)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "stop", "at"),
    [("train_step", before_a_step, 7), ("train_step", within_a_step, 7), ("evaluate", in_the_validation, 10)],
)
def test_ctrl_c_saves_and_the_next_run_continues(project, monkeypatch, caplog, method, stop, at):
    caplog.set_level("INFO")
    call = getattr(linear_probe.LinearProbe, method)
    stopped, unbroken = f"LogDir={stop.__name__}", f"LogDir=not_{stop.__name__}"

    with monkeypatch.context() as patch:
        patch.setattr(linear_probe.LinearProbe, method, lambda *arguments: stop(arguments[0], call, *arguments[1:]))
        with pytest.raises(KeyboardInterrupt):
            train.train_and_freeze(project(stopped))
    assert checkpoint_files.saved_steps(project(stopped).path("LogDir")) == [at]

    train.train_and_freeze(project(stopped))
    train.train_and_freeze(project(unbroken))

    assert f"Continuing after step {at}" in caplog.text
    # Every epoch is validated once in both runs.
    assert caplog.text.count("Epoch 2: training accuracy") == 2
    assert_same(weights(project(stopped)), weights(project(unbroken)))
    tables = [results(project(each)) for each in (stopped, unbroken)]
    assert tables[0] == tables[1]
    assert [row["epoch"] for row in tables[0]] == [1, 2, 3, 4, 5, 6]


def results(configuration):
    """The rows of results.csv of the run in LogDir, without the time they took."""
    name = json.loads((configuration.path("LogDir") / "run.json").read_text())["folder"]
    rows = runs.read_results(configuration.path("RunsDir") / name)
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


@pytest.mark.slow
def test_end_to_end_training_is_reproducible_and_resumes(project):
    settings = ("TrainableScopes=Mixed_7c", "Epochs=1", "BatchTestSize=12")
    for name, epochs in (("a", 2), ("b", 1), ("b", 2)):
        train.train_and_freeze(project(*settings, f"LogDir={name}", f"Epochs={epochs}", "BatchNormDecay=0.5"))

    one, other = weights(project("LogDir=a")), weights(project("LogDir=b"))
    assert_same(one, other)
    pretrained = checkpoint_files.latest_checkpoint(project().root / "Model/Pretrained")[1]
    changed = {name.split("/")[1] for name in pretrained if not numpy.array_equal(pretrained[name], one.get(name))}
    assert changed == {"Mixed_7c", "Logits"}


@pytest.mark.slow
def test_training_from_nothing_trains_everything(project, caplog):
    caplog.set_level("INFO")
    configuration = project("Pretrained=none", "Epochs=1", "BatchSize=12")

    train.train_and_freeze(configuration)

    found = weights(configuration)
    assert numpy.abs(found["InceptionV3/Conv2d_1a_3x3/BatchNorm/moving_mean"]).max() > 0
    assert model_card.load_model_card(configuration.card).training["step"] == 2
    assert float(re.search(r"validation loss (\S+),", caplog.text)[1]) == pytest.approx(
        served_loss(configuration), abs=1e-4
    )


def served_loss(configuration):
    """Cross-entropy of the frozen graph over the validation split, computed independently."""
    records = list(tfrecords.iter_records(configuration, "validation"))
    images = numpy.stack(
        [network_input.InputSpec(small_networks.SIZE).decode_and_resize(record.encoded) for record in records]
    )
    with device_selection.open_backend(configuration, model_card.load_model_card(configuration.card)) as engine:
        answers = engine.classify(images)
    return -numpy.log([answer[record.label] for answer, record in zip(answers, records, strict=True)]).mean()


@pytest.mark.slow
@pytest.mark.parametrize("scopes", ["Logits", "Mixed_7c"])
def test_confidences_are_calibrated_on_the_validation_images(project, monkeypatch, scopes):
    monkeypatch.setattr(operating_point, "MIN_PER_CLASS", 2)
    configuration = project("Epochs=1", f"TrainableScopes={scopes}", "TargetSensitivity=1", "UncertainErrorRate=0")
    train.train_and_freeze(configuration)

    card = model_card.load_model_card(configuration.card)
    items = tfrecords.load_manifest(configuration).splits["validation"]
    records = tfrecords.iter_records(configuration, "validation")
    images = numpy.stack(
        [network_input.InputSpec(small_networks.SIZE).decode_and_resize(record.encoded) for record in records]
    )
    with device_selection.open_backend(configuration, card) as engine:
        answers = engine.classify(images)

    assert card.temperature != 1
    labels = numpy.array([item["label"] for item in items])
    assert (answers[labels == 1, 1] >= card.threshold).all(), "the graph that serves finds what was promised"
    likelihoods = answers[numpy.arange(len(labels)), labels]
    assert card.calibration["cross_entropy_after"] == pytest.approx(-numpy.log(likelihoods).mean(), rel=1e-3)


@pytest.mark.slow
def test_the_comparison_after_training_in_bf16_is_float32(project, monkeypatch):
    key, seen = "auto_mixed_precision_onednn_bfloat16", []

    def note(*_):
        seen.append(tf.config.optimizer.get_experimental_options().get(key, False))

    monkeypatch.setattr(openvino_devices, "cpu_precision", lambda wanted: wanted)
    monkeypatch.setattr(
        loop, "run_training_loop", lambda *_: note() or project().root / "Model/Pretrained/model.ckpt-1"
    )
    monkeypatch.setattr(freeze_graph, "freeze_checkpoint", note)
    # No checkpoint and no graph are written here, so no run is kept.
    train.train_and_freeze(project("TrainableScopes=Mixed_7c", "TrainingPrecision=bf16", "RunsDir="))

    assert seen == [True, False]


@pytest.mark.slow
def test_a_gpu_continues_what_a_cpu_began(project, monkeypatch):
    train.train_and_freeze(project("Network=AllCNN", "Epochs=1"))
    first = weights(project())["global_step"]
    assert "loss_scale" not in weights(project())

    monkeypatch.setattr(mixed_precision, "resolve_precision", lambda *_: "f16")
    train.train_and_freeze(project("Network=AllCNN", "Epochs=2"))

    saved = weights(project())
    assert saved["global_step"] == 2 * first
    assert (saved["loss_scale"], saved["loss_scale_steps"]) == (2**15, first)


def test_two_trainers_on_one_folder(project):
    configuration = project()
    with held(configuration.path("LogDir")), pytest.raises(ALLError) as refused:
        train.train_and_freeze(configuration)
    assert refused.value.code == "folder_in_use"


@pytest.mark.parametrize("setting", ["NumClasses=3", "PositiveClass=leukemic"])
def test_shards_of_other_classes_are_rejected_before_anything_is_trained(project, setting):
    with raises(ConfigurationError, "class_mismatch"):
        train.train_and_freeze(project(setting))
    assert not project().path("ALLGraph").exists()


@pytest.mark.slow
def test_a_last_layer_does_not_go_on_on_another_backbone(project, prepared, tmp_path, caplog):
    caplog.set_level("INFO")
    other = tmp_path / "other"
    shutil.copytree(prepared / "Model/Pretrained", other)
    train.train_and_freeze(project("Epochs=2", f"Pretrained={other}"))
    first = weights(project())
    shutil.rmtree(other)
    checkpoint_files.save_checkpoint(other, 1, small_networks.arrays(seed=1, classes=7))

    train.train_and_freeze(project("Epochs=2", f"Pretrained={other}"))

    assert "Continuing after step" not in caplog.text
    assert_same(checkpoint_files.latest_checkpoint(project().path("LogDir").with_name("log-1"))[1], first)


def test_an_unknown_scope(project):
    with pytest.raises(ConfigurationError) as raised:
        train.train_and_freeze(project("TrainableScopes=Mixed_8"))

    assert raised.value.code == "trainable_scopes"


def test_the_last_layer_alone_needs_something_under_it(project):
    with pytest.raises(ConfigurationError) as raised:
        train.train_and_freeze(project("TrainableScopes=Logits", "Pretrained=none"))

    assert raised.value.code == "pretrained_needed"


def test_no_shards(tmp_path):
    with raises(DataError, "no_shards"):
        train.train_and_freeze(small_networks.configuration(tmp_path))


@pytest.mark.slow
def test_a_trainer_killed_at_any_moment_continues(project, prepared):
    configuration = project("LogDir=killed", "Epochs=400", "SaveSeconds=0")
    keys = [key for section in configuration.values.values() for key in section]
    options = [f"{key}={json.dumps(configuration[key])}" for key in keys]
    settings = [part for option in options for part in ("--set", option)]
    command = [sys.executable, str(Helpers.PROJECT / "Trainer.py"), *settings]
    folder = configuration.path("LogDir")
    reached = [0]
    for _ in range(3):
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        waiting.until(
            lambda: checkpoint_files.saved_steps(folder)[-1:] > reached[-1:],
            ended=lambda child=child: child.poll() is not None,
        )
        os.kill(child.pid, signal.SIGKILL)
        child.communicate()
        reached.append(checkpoint_files.latest_checkpoint(folder)[0])

    assert reached == sorted(set(reached)), "a killed run lost what was saved"
