import types

import numpy
import pytest
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import config_pb2, device_properties_pb2, rewriter_config_pb2
from tensorflow.python.framework import meta_graph
from tensorflow.python.grappler import cluster, tf_optimizer

from Classes.common.errors import ConfigurationError
from Classes.inference import openvino_devices
from Classes.training import distributed, fine_tuning, linear_probe, mixed_precision
from tests.support import small_networks
from tests.training import test_trainers

ALONE = tf.distribute.get_strategy()


@pytest.fixture
def gpus(monkeypatch):
    """Gives the machine GPUs of the compute capabilities that it is called with."""

    def give(*capabilities):
        found = dict(enumerate(capabilities))
        details = lambda gpu: {"compute_capability": found[gpu]} if found[gpu] else {}  # noqa: E731
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: list(found) if kind == "GPU" else ["CPU"])
        monkeypatch.setattr(tf.config.experimental, "get_device_details", details)

    return give


@pytest.mark.parametrize(
    ("capabilities", "wanted", "chosen"),
    [
        ([(7, 0)], "AUTO", "f16"),
        ([(8, 9), (12, 0)], "f16", "f16"),
        ([(8, 0)], "f32", "f32"),
        ([(8, 0), (6, 1)], "AUTO", "f32"),
        ([None], "AUTO", "f32"),
        ([], "f32", "f32"),
    ],
)
def test_the_arithmetic_is_what_the_machine_gains_by(gpus, capabilities, wanted, chosen):
    gpus(*capabilities)
    assert mixed_precision.resolve_precision(wanted, ALONE) == chosen


def test_a_processor_trains_in_what_it_has(gpus, monkeypatch):
    gpus()
    monkeypatch.setattr(openvino_devices, "cpu_precision", {"AUTO": "bf16"}.get)
    assert mixed_precision.resolve_precision("AUTO", ALONE) == "bf16"


@pytest.mark.parametrize(("capabilities", "wanted"), [([], "f16"), ([(8, 0)], "bf16"), ([(6, 1)], "f16")])
def test_a_precision_that_the_machine_does_not_support_is_rejected(gpus, capabilities, wanted):
    gpus(*capabilities)
    with pytest.raises(ConfigurationError) as raised:
        mixed_precision.resolve_precision(wanted, ALONE)
    assert raised.value.code == "training_precision"


@pytest.mark.parametrize(("scaling", "chosen"), [(1, "f32"), (2, "f16")])
def test_two_workers_scale_alike(gpus, monkeypatch, scaling, chosen):
    gpus((8, 0))
    monkeypatch.setattr(distributed, "rank_and_world_size", lambda strategy: (0, 2))
    monkeypatch.setattr(distributed, "all_reduce_sum", lambda strategy, arrays: [numpy.float32(scaling)])
    assert mixed_precision.resolve_precision("AUTO", ALONE) == chosen


class Rewritten(linear_probe.LinearProbe):
    precision = "f16"


def trainer(tmp_path, kind, *settings):
    splits = {"train": test_trainers.split(64, 0), "validation": test_trainers.split(40, 1)}
    return kind(small_networks.configuration(tmp_path, "BatchSize=16", *settings), splits, {})


def values(trainer):
    return {name: variable.numpy() for name, variable in trainer.variables().items()}


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["GradientClip=0.1", "GradientAccumulationSteps=2", "EmaDecay=0.9"])
def test_the_scale_changes_no_weight(tmp_path, setting):
    plain, scaled = (trainer(tmp_path, kind, setting) for kind in (linear_probe.LinearProbe, Rewritten))
    for each in (plain, scaled):
        test_trainers.train(each, 6)

    found = values(scaled)
    assert found.pop("loss_scale") == 2**15
    assert found.pop("loss_scale_steps") == (3 if setting == "GradientAccumulationSteps=2" else 6)
    for name, value in values(plain).items():
        numpy.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["GradientClip=0", "GradientClip=0.1", "GradientAccumulationSteps=2"])
def test_a_step_that_overflows_is_skipped(tmp_path, setting):
    scaled = trainer(tmp_path, Rewritten, setting)
    scale = scaled.variables()["loss_scale"]
    scale.assign(2.0**127)
    before = scaled._weights.numpy()
    features, labels = next(iter(scaled.batches(0, 0)))

    # Features of some thousands make gradients of some thousands, and 2^127 is the largest power there is.
    scaled.train_step((features * 1000, labels), 0)
    scaled.train_step((features * 1000, labels), 1)

    numpy.testing.assert_array_equal(scaled._weights, before)
    assert scale.numpy() == 2.0 ** (126 if setting == "GradientAccumulationSteps=2" else 125)
    scale.assign(2.0**15)
    test_trainers.train(scaled, 4, 2)
    assert numpy.isfinite(scaled._weights).all()
    assert not numpy.array_equal(scaled._weights, before)


def test_tensorboard_gets_the_scale_and_the_norm_of_a_gradient(tmp_path):
    both = trainer(tmp_path, Rewritten, "GradientClip=100", "WeightDecay=0", "DropoutRate=0")
    batch = next(iter(both.batches(0, 0)))
    # By hand: softmax of zeros is one half each, and the gradient of the logits is that less the truth.
    features, labels = (each.numpy() for each in batch)
    error = (0.5 - numpy.eye(2)[labels]) / len(labels)
    norm = numpy.hypot(numpy.linalg.norm(features.T @ error), numpy.linalg.norm(error.sum(axis=0)))

    both.train_step(batch, 0)

    assert both.step_metrics() == {"Gradient_Norm": pytest.approx(norm, rel=1e-5), "Loss_Scale": 2**15}
    assert trainer(tmp_path, linear_probe.LinearProbe).step_metrics() == {}


@pytest.mark.slow
def test_on_a_gpu_the_convolutions_of_a_step_are_short_and_the_weights_are_not(tmp_path, monkeypatch):
    monkeypatch.setattr(mixed_precision, "resolve_precision", lambda wanted, strategy: "f16")
    manifest = types.SimpleNamespace(splits={"train": [{"label": 0}] * 8}, classes=["NEGATIVE", "POSITIVE"])
    configuration = small_networks.configuration(tmp_path, "PositiveClass=POSITIVE", "BatchSize=4")
    trained = fine_tuning.FineTuner(configuration, manifest, ["Mixed_7c", "Logits"], {})
    images, labels = tf.constant(small_networks.images(4)), tf.constant([0, 1, 0, 1], tf.int64)
    step = trained._run_step.get_concrete_function(images, labels, tf.constant([0, 0]), True, tf.constant(0))

    operations = rewritten(step.graph)

    gradients = [each for each in operations if each.op == "Conv2DBackpropFilter"]
    assert len(gradients) >= 9
    assert {each.attr["T"].type for each in operations if each.op.startswith("Conv2D")} == {types_pb2.DT_HALF}
    variables = [each for each in operations if each.op == "ReadVariableOp"]
    assert types_pb2.DT_HALF not in {each.attr["dtype"].type for each in variables}


def rewritten(graph):
    """The operations that a GPU would be given; TensorFlow's optimiser needs no more than its description."""
    name = "/job:localhost/replica:0/task:0/device:GPU:0"
    about = {"architecture": "7.0", "cuda": "12000", "cudnn": "8900"}
    properties = device_properties_pb2.DeviceProperties(type="GPU", vendor="NVIDIA", num_cores=80, environment=about)
    gpu = device_properties_pb2.NamedDevice(name=name, properties=properties)
    exported = meta_graph.create_meta_graph_def(graph=graph)
    for each in exported.graph_def.node:
        each.device = name
    exported.collection_def["train_op"].node_list.value.extend(each.name for each in graph.outputs)
    settings = config_pb2.ConfigProto()
    rewriting = settings.graph_options.rewrite_options
    rewriting.optimizers.append(mixed_precision.GRAPH_REWRITES["f16"])
    setattr(rewriting, mixed_precision.GRAPH_REWRITES["f16"], rewriter_config_pb2.RewriterConfig.ON)
    devices = cluster.Cluster(devices=[gpu], disable_detailed_stats=True, disable_timeline=True)
    return tf_optimizer.OptimizeGraph(settings, exported, cluster=devices).node
