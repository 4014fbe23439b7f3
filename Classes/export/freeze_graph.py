"""The frozen graph: folded, in TensorFlow 1.4's words, and proven equal to its checkpoint before anyone sees it."""

import dataclasses
import json
import logging
import pathlib
import tempfile

import numpy
import tensorflow as tf

from Classes import Helpers
from Classes.common import atomic_files, interrupts, provenance
from Classes.common.errors import GraphError
from Classes.dataset import color_reference, tfrecords
from Classes.evaluation import calibration, operating_point
from Classes.imaging import decode
from Classes.inference import model_card, openvino_backend
from Classes.networks import checkpoint_files, registry

# Real images that checkpoint, frozen graph and engine have to agree on, and how closely.
PARITY_IMAGES = 4
PARITY_TOLERANCE = 1e-4

INPUT_NAME = "input"

# Fields of the card on which every verdict depends.
JUDGED = {"graph_sha256", "classes", "positive", "input", "output", "threshold", "temperature", "uncertain"}

# Every op of the graph with the attributes that TensorFlow 1.4 knows of it. The stick's compiler runs on that
# version and stops at the first word it does not know.
TENSORFLOW_1_4 = {
    "AvgPool": {"T", "data_format", "ksize", "padding", "strides"},
    "BiasAdd": {"T", "data_format"},
    "ConcatV2": {"N", "T", "Tidx"},
    "Const": {"dtype", "value"},
    "Conv2D": {"T", "data_format", "padding", "strides", "use_cudnn_on_gpu"},
    "Identity": {"T"},
    "MatMul": {"T", "transpose_a", "transpose_b"},
    "MaxPool": {"T", "data_format", "ksize", "padding", "strides"},
    "Placeholder": {"dtype", "shape"},
    "Relu": {"T"},
    "Reshape": {"T", "Tshape"},
    "Softmax": {"T"},
    "Squeeze": {"T", "squeeze_dims"},
}

# GraphDef version that TensorFlow 1.4.0 writes.
PRODUCER = 24

log = logging.getLogger("Trainer")


def freeze_checkpoint(configuration, manifest, prefix, records, progress, logits=None, run=None):
    """Publish a checkpoint as `ALLGraph` and its model card, or neither.

    Args:
      configuration: Configuration.
      manifest: tfrecords.Manifest of the data the checkpoint was trained on.
      prefix: path of the checkpoint.
      records: some validation records to compare on.
      progress: loop.TrainState.
      logits: function of the network's values {name: array} that returns the logits of the validation images, on which
        the confidences are calibrated; None: they are left as they are.
      run: identity of the run in LogDir, see Training; None: not known.
    Raises:
      GraphError: checkpoint, frozen graph and engine do not agree.
    """
    logging.getLogger("tensorflow").info("Restoring parameters from %s", prefix)
    network = registry.get_network(configuration)
    values = checkpoint_files.read_checkpoint(prefix)
    # Where weights were averaged, the averages are what was measured.
    arrays = {name: values.get(f"average/{name}", values[name]) for name in network.variable_shapes(configuration)}
    choice, fitted = operating_point.OperatingPoint(), None
    if logits is not None:
        choice, fitted = operating_point.choose_operating_point(configuration, manifest, lambda: logits(arrays))
    view = network.input_spec(configuration)
    images = numpy.stack(
        [view.decode_and_resize(record.encoded, decode.decode_limits(configuration)) for record in records]
    )
    about = {
        "classes": list(manifest.classes),
        "input": {"node": INPUT_NAME, **dataclasses.asdict(view)},
        "calibration": fitted,
        "synthetic": manifest.synthetic,
        "data": {
            "manifest_sha256": manifest.sha256,
            "train": len(manifest.splits["train"]),
            "validation": len(manifest.splits["validation"]),
        },
        "training": {
            "step": progress.step,
            "loss": progress.loss,
            "accuracy": progress.accuracy,
            # Above 0 the validation images have chosen the epoch.
            "patience": configuration["Patience"],
            "run": run,
        },
        "colours": color_reference.training_color_reference(configuration, manifest, view),
    }
    publish_model(configuration, arrays, view.normalize(images), about, choice)


def publish_model(configuration, arrays, inputs, about, choice):
    """Write `ALLGraph` and its model card, or neither.

    Args:
      configuration: Configuration.
      arrays: {variable name: float32 array} of the network, batch norms included.
      inputs: float32 [N, S, S, 3]; on these, values, graph and engine have to agree.
      about: fields of the card that tell where the values come from: classes, input, calibration, synthetic, data,
        training, colours.
      choice: operating_point.OperatingPoint.
    Raises:
      GraphError: they do not agree.
    """
    network = registry.get_network(configuration)
    log.info("Exporting graph...")
    folded = calibration.fold_temperature(arrays, network.HEAD, choice.temperature)
    definition = build_frozen_graph(configuration, folded)
    path = configuration.path("ALLGraph")
    # The card is whole before the graph gets its name: between the two renames nothing is left that could go wrong.
    with (
        atomic_files.folder_lock(path.parent, wait=True),
        atomic_files.atomic_replace(configuration.card) as card,
        atomic_files.atomic_replace(path) as temporary,
    ):
        temporary.write_bytes(definition.SerializeToString(deterministic=True))
        differences = check_parity(configuration, arrays, definition, temporary, inputs, choice.temperature)
        digest = atomic_files.sha256_file(temporary)
        training = {**about["training"], "parity": differences}
        values = {**_model_card(configuration, digest), **about, **choice._asdict(), "training": training}
        model_card.write_model_card(card, {**values, **_kept(configuration.card, values)})
    logging.getLogger("tensorflow").info("Froze %d variables.", len(arrays))
    log.info("Converted %d variables to const ops.", len(arrays))
    log.info(
        "Checkpoint, frozen graph and engine agree on %d images within %.1e.", len(inputs), max(differences.values())
    )
    log.info("Wrote %s and %s.", path, configuration.card)


def _kept(path, values):
    """What was made of the very same model before and still holds, as fields of the card.

    The stick's graph depends on the frozen graph alone; what the int8 form and the metrics were measured with is also
    how an image becomes an input and an output becomes a verdict.
    """
    try:
        former = model_card.load_model_card(path)
    except GraphError:
        return {}
    same = {name for name, value in values.items() if json.dumps(getattr(former, name, None)) == json.dumps(value)}
    kept = ["compiled"] if "graph_sha256" in same else []
    kept += ["int8", "metrics"] if same >= JUDGED else []
    found = {name: getattr(former, name) for name in ("compiled", "int8", "metrics") if getattr(former, name)}
    for name, command in (("int8", "Quantize"), ("compiled", "Compile")):
        if name in found and name not in kept:
            log.info("The former model's %s form is not this one's; run python3 Trainer.py %s again.", name, command)
    return {name: value for name, value in found.items() if name in kept}


@interrupts.defer_signals()
def build_frozen_graph(configuration, arrays):
    """A checkpoint's values as the graph that is published.

    Args:
      configuration: Configuration.
      arrays: {variable name: float32 array}, batch norms included.
    Returns:
      tf.compat.v1.GraphDef with placeholder `input` [1, size, size, 3], the network's OUTPUT [1, classes], batch norm
      folded, only ops and attributes of TENSORFLOW_1_4.
    Raises:
      GraphError: the network needs what TensorFlow 1.4 does not have.
    """
    network = registry.get_network(configuration)
    definition = _extract_subgraph(network.OUTPUT, network.build_inference_graph(configuration, arrays).as_graph_def())
    for node in definition.node:
        if node.op not in TENSORFLOW_1_4:
            raise GraphError(f"{node.name}: TensorFlow 1.4 has no op {node.op}; the graph is not written")
        for name in set(node.attr) - TENSORFLOW_1_4[node.op]:
            _check_default(node, name)
            del node.attr[name]
    definition.versions.producer = PRODUCER
    return definition


def _extract_subgraph(output, definition):
    """The part of a graph that its output needs, in the same order."""
    nodes = {node.name: node for node in definition.node}
    needed, waiting = set(), [output]
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += [source.split(":")[0] for source in nodes[name].input]
    return tf.compat.v1.GraphDef(
        node=[node for node in definition.node if node.name in needed], versions=definition.versions
    )


def _check_default(node, name):
    """An attribute may only go where it says nothing: no dilation, no padding of its own."""
    value = node.attr[name]
    if name.startswith("_") or (name in ("dilations", "explicit_paddings") and set(value.list.i) <= {1}):
        return
    # Whether another multiplication is this one's gradient.
    if name in ("grad_a", "grad_b") and not value.b:
        return
    raise GraphError(f"{node.name}: TensorFlow 1.4 has no attribute {name} of {node.op}; the graph is not written")


@interrupts.defer_signals()
def check_parity(configuration, arrays, definition, path, inputs, temperature=1.0):
    """How far checkpoint, frozen graph in TensorFlow and frozen graph in the engine (float32) lie apart.

    Args:
      configuration: Configuration.
      arrays: the checkpoint's values.
      definition: GraphDef of the frozen graph.
      path: file that holds `definition`.
      inputs: float32 [N, S, S, 3].
      temperature: what the frozen graph divides the checkpoint's logits by.
    Returns:
      {"frozen graph" and "engine": largest difference of a probability to the checkpoint's}.
    Raises:
      GraphError: more than TOLERANCE apart.
    """
    network = registry.get_network(configuration)
    answers = _session_outputs(
        network.build_inference_graph(configuration, arrays, folded=False), network.OUTPUT, inputs
    )
    expected = calibration.softmax_at_temperature(calibration.log_probabilities(answers), temperature)
    graph = tf.Graph()
    with graph.as_default():
        tf.graph_util.import_graph_def(definition, name="")
    answers = {
        "frozen graph": _session_outputs(graph, network.OUTPUT, inputs),
        "engine": openvino_backend.reference_outputs(path, inputs),
    }
    differences = {name: float(numpy.abs(found - expected).max()) for name, found in answers.items()}
    for name, difference in differences.items():
        # A difference that is no number must fail too.
        if not difference <= PARITY_TOLERANCE:
            raise GraphError(
                f"the {name} differs from the checkpoint by {difference:.2e} where {PARITY_TOLERANCE:g} is allowed; "
                f"{configuration.path('ALLGraph')} is not written"
            )
    return differences


def _session_outputs(graph, output, inputs):
    """float32 [N, classes] of a graph in a TensorFlow session, image by image as its placeholder wants."""
    # As the nodes stand: TensorFlow would spend longer on rewriting the graph than on these few images.
    # On the processor: a graphics processor's shorter float32 would differ by more than is allowed here.
    options = tf.compat.v1.ConfigProto(device_count={"GPU": 0})
    options.graph_options.rewrite_options.disable_meta_optimizer = True
    options.graph_options.optimizer_options.opt_level = -1
    with tf.compat.v1.Session(graph=graph, config=options) as session:
        return numpy.concatenate([session.run(f"{output}:0", {f"{INPUT_NAME}:0": image[None]}) for image in inputs])


def validation_logits(configuration, manifest, arrays):
    """What a network says to every validation image, in float32 on the engine.

    Args:
      configuration: Configuration.
      manifest: tfrecords.Manifest.
      arrays: {variable name: float32 array}, batch norms included.
    Returns:
      float [N, classes] in the manifest's order: logits but for a constant an image.
    """
    view = registry.get_network(configuration).input_spec(configuration)
    definition = build_frozen_graph(configuration, arrays)
    records = Helpers.progress(
        tfrecords.iter_records(configuration, "validation"),
        total=len(manifest.splits["validation"]),
        desc="Calibration",
        unit="image",
    )
    images = (view.decode_and_resize(record.encoded, decode.decode_limits(configuration)) for record in records)
    return calibration.log_probabilities(openvino_outputs(definition, (view.normalize(image) for image in images)))


def openvino_outputs(definition, inputs):
    """openvino_backend.reference_outputs of a graph that has no file yet.

    Args:
      definition: GraphDef.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "graph.pb"
        path.write_bytes(definition.SerializeToString())
        return openvino_backend.reference_outputs(path, inputs)


def _model_card(configuration, digest):
    """What the model card says of every model; see Card for its fields."""
    return {
        "version": model_card.CARD_VERSION,
        "network": configuration["Network"],
        "graph": configuration.path("ALLGraph").name,
        "graph_sha256": digest,
        "positive": configuration["PositiveClass"],
        "output": registry.get_network(configuration).OUTPUT,
        "metrics": None,
        "versions": provenance.package_versions(),
        "commit": provenance.git_commit(),
        "created": provenance.utc_now_iso(),
        "notice": Helpers.DISCLAIMER,
    }
