"""Freeze a checkpoint: fold batch norm and temperature, check the graph against the checkpoint, and publish it."""

import collections.abc
import dataclasses
import json
import logging
import pathlib
import tempfile
from typing import Any

import numpy
import tensorflow as tf

from Classes import Helpers
from Classes.common import atomic_files, class_scheme, interrupts, json_files, locks, logs, provenance
from Classes.common.config import Configuration
from Classes.common.errors import GraphError
from Classes.common.translation import Message
from Classes.dataset import color_reference, tfrecords
from Classes.evaluation import calibration, operating_point
from Classes.export import ncs1_compile
from Classes.imaging import decode
from Classes.inference import model_card, openvino_backend
from Classes.networks import checkpoint_files, compact_graph, registry

# Number of real images on which checkpoint, frozen graph and backend have to agree, and the tolerance.
PARITY_IMAGES = 4
PARITY_TOLERANCE = 1e-4

INPUT_NAME = "input"

# Fields of the model card that determine every prediction.
PREDICTION_FIELDS = {
    "graph_sha256",
    "classes",
    "positive",
    "input",
    "output",
    "threshold",
    "temperature",
    "uncertain",
}

log = logging.getLogger("Trainer")


def freeze_checkpoint(
    configuration: Configuration,
    manifest: tfrecords.Manifest,
    prefix: Any,
    records: collections.abc.Sequence[tfrecords.Record],
    progress: Any,
    logits: collections.abc.Callable[[dict[str, numpy.ndarray]], numpy.ndarray] | None = None,
    run: Any = None,
) -> None:
    """Publish a checkpoint as `ALLGraph` and its model card, or neither.

    Args:
      configuration: Configuration.
      manifest: of the data on which the checkpoint was trained.
      prefix: path of the checkpoint.
      records: some validation records for the parity check.
      progress: train_state.TrainState at the checkpoint.
      logits: returns the logits of the validation images for {variable name: array}, on which the operating point is
        chosen; None: keep the default operating point.
      run: identity of the run in LogDir, see train; None: unknown.
    Raises:
      GraphError: `parity`, if checkpoint, frozen graph and backend disagree.
    """
    logging.getLogger("tensorflow").info("Restoring parameters from %s", prefix)
    network = registry.get_network(configuration)
    values = checkpoint_files.read_checkpoint(prefix)
    # If weights were averaged, the averages were evaluated.
    arrays = {name: values.get(f"average/{name}", values[name]) for name in network.variable_shapes(configuration)}
    if configuration["CompactGraph"]:
        # Before the calibration, so that it applies to the published weights.
        arrays = compact_graph.round_weights(network, arrays)
    point, fitted = operating_point.OperatingPoint(), None
    if logits is not None:
        point, fitted = operating_point.choose_operating_point(configuration, manifest, lambda: logits(arrays))
    spec, limits = network.input_spec(configuration), decode.decode_limits(configuration)
    images = numpy.stack([spec.decode_and_resize(record.encoded, limits) for record in records])
    origin = {
        "classes": list(manifest.classes),
        "input": {"node": INPUT_NAME, **dataclasses.asdict(spec)},
        "calibration": fitted,
        "synthetic": manifest.synthetic,
        "data": _data_fields(manifest),
        "training": _training_fields(configuration, progress, run),
        **color_reference.training_references(configuration, manifest, spec),
    }
    publish_model(configuration, arrays, spec.normalize(images), origin, point)


def _training_fields(configuration: Configuration, progress: Any, run: Any) -> dict[str, Any]:
    return {
        "step": progress.step,
        "loss": progress.loss,
        "accuracy": progress.accuracy,
        # If it is above 0, the epoch was chosen on the validation images.
        "patience": configuration["Patience"],
        "depth_multiplier": configuration["DepthMultiplier"],
        "run": run,
    }


def _data_fields(manifest: tfrecords.Manifest) -> dict[str, Any]:
    """Return "data" of the model card: hash and numbers of the images, and a published data set if it is one."""
    counts = {split: len(manifest.splits[split]) for split in tfrecords.SPLITS}
    fields: dict[str, Any] = {"manifest_sha256": manifest.sha256, **counts}
    known = manifest.data_set or {}
    if known.get("title"):
        fields["data_set"] = {key: known[key] for key in ("title", "source", "limits")}
    return fields


def publish_model(
    configuration: Configuration,
    arrays: dict[str, numpy.ndarray],
    inputs: numpy.ndarray,
    origin: dict[str, Any],
    point: operating_point.OperatingPoint,
) -> None:
    """Write `ALLGraph` and its model card, or neither.

    Args:
      configuration: Configuration.
      arrays: {variable name: float32 array} of the network, with batch norms.
      inputs: float32 [N, S, S, 3], on which checkpoint, frozen graph and backend have to agree.
      origin: fields of the model card about the weights: classes, input, calibration, synthetic, data, training,
        colours and image_check.
      point: operating point.
    Raises:
      GraphError: `parity`, if they disagree.
    """
    network = registry.get_network(configuration)
    log.info("Exporting graph...")
    folded = calibration.fold_temperature(arrays, network.HEAD, point.temperature)
    definition = build_frozen_graph(configuration, folded)
    if configuration["CompactGraph"]:
        definition = compact_graph.compact_graph(definition, network, arrays)
    path = configuration.path("ALLGraph")
    # The card is complete before the graph is renamed, so that nothing can fail between the two renames.
    with (
        locks.folder_lock(path.parent, wait=True),
        atomic_files.atomic_replace(configuration.card) as card,
        atomic_files.atomic_replace(path) as temporary,
    ):
        temporary.write_bytes(definition.SerializeToString(deterministic=True))
        differences = check_parity(configuration, arrays, definition, temporary, inputs, point.temperature)
        training = {**origin["training"], "parity": differences}
        values = {
            **_common_fields(configuration, provenance.sha256_file(temporary)),
            **origin,
            **point._asdict(),
            "training": training,
        }
        model_card.write_model_card(card, {**values, **_fields_to_keep(configuration.card, values)})
    logging.getLogger("tensorflow").info("Froze %d variables.", len(arrays))
    log.info("Converted %d variables to const ops.", len(arrays))
    log.info(
        "Checkpoint, frozen graph and backend agree on %d images within %.1e.", len(inputs), max(differences.values())
    )
    log.info("Wrote %s and %s.", path, configuration.card)
    _warn_about_stick(configuration, definition)


def _warn_about_stick(configuration: Configuration, definition: Any) -> None:
    node = None if configuration["CompactGraph"] else ncs1_compile.unsupported_node(definition)
    if node:
        # Of no interest to most people; Trainer.py Compile says it again.
        log.warning(
            "The graph cannot be compiled for the Movidius stick: TensorFlow 1.4 does not know %s.",
            node,
            extra=logs.LOG_ONLY,
        )


def _fields_to_keep(path: pathlib.Path, values: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of the former model card that still hold for the new values.

    The compiled graph of the stick depends only on the frozen graph. The int8 model and the metrics also depend on the
    input specification and the operating point.
    """
    try:
        former = model_card.load_model_card(path)
    except GraphError:
        return {}
    # As in the file: the card in memory has other types, such as Condition.
    written = json_files.read_json(path)
    new = {**values, "positive": class_scheme.as_json(class_scheme.as_names(values["positive"]))}
    same = {name for name, value in new.items() if written.get(name) == json.loads(json.dumps(value))}
    kept = ["compiled"] if "graph_sha256" in same else []
    kept += ["int8", "metrics"] if same >= PREDICTION_FIELDS else []
    fields = {name: getattr(former, name) for name in ("compiled", "int8", "metrics") if getattr(former, name)}
    for name, command in (("int8", "Quantize"), ("compiled", "Compile")):
        if name in fields and name not in kept:
            log.info("The %s form belongs to the former model. Run python3 Trainer.py %s again.", name, command)
    return {name: value for name, value in fields.items() if name in kept}


@interrupts.defer_signals()
def build_frozen_graph(configuration: Configuration, arrays: dict[str, numpy.ndarray]) -> Any:
    """Return the graph that is published.

    Args:
      configuration: Configuration.
      arrays: {variable name: float32 array}, with batch norms.
    Returns:
      tf.compat.v1.GraphDef with the placeholder `input` [1, size, size, 3], the network's OUTPUT [1, classes] and
      folded batch norms. Attributes that TensorFlow 1.4 does not know are removed if they have their default value.
    """
    network = registry.get_network(configuration)
    definition = _extract_subgraph(network.OUTPUT, network.build_inference_graph(configuration, arrays).as_graph_def())
    ncs1_compile.remove_new_attributes(definition)
    return definition


def _extract_subgraph(output: str, definition: Any) -> Any:
    """Return the nodes that the output depends on, in the same order."""
    nodes = {node.name: node for node in definition.node}
    needed: set[str] = set()
    pending = [output]
    while pending:
        name = pending.pop()
        if name not in needed:
            needed.add(name)
            pending += [source.split(":")[0] for source in nodes[name].input]
    return tf.compat.v1.GraphDef(
        node=[node for node in definition.node if node.name in needed], versions=definition.versions
    )


@interrupts.defer_signals()
def check_parity(
    configuration: Configuration,
    arrays: dict[str, numpy.ndarray],
    definition: Any,
    path: pathlib.Path,
    inputs: numpy.ndarray,
    temperature: float = 1.0,
) -> dict[str, float]:
    """Compare the checkpoint with the frozen graph in TensorFlow and in the backend (float32).

    Args:
      configuration: Configuration.
      arrays: the checkpoint's values.
      definition: frozen graph.
      path: file with `definition`.
      inputs: float32 [N, S, S, 3].
      temperature: the frozen graph divides the checkpoint's logits by it.
    Returns:
      {"frozen graph" and "engine": largest difference of a probability}.
    Raises:
      GraphError: `parity`, if a difference is larger than PARITY_TOLERANCE.
    """
    network = registry.get_network(configuration)
    unfolded = network.build_inference_graph(configuration, arrays, folded=False)
    logits = calibration.log_probabilities(session_outputs(unfolded, network.OUTPUT, inputs))
    expected = calibration.softmax_at_temperature(logits, temperature)
    graph = tf.Graph()
    with graph.as_default():
        tf.graph_util.import_graph_def(definition, name="")
    outputs = {
        "frozen graph": session_outputs(graph, network.OUTPUT, inputs),
        "engine": openvino_backend.reference_outputs(path, inputs),
    }
    differences = {name: float(numpy.abs(each - expected).max()) for name, each in outputs.items()}
    for name, difference in differences.items():
        # NaN fails, too.
        if not difference <= PARITY_TOLERANCE:
            raise GraphError(
                Message(
                    "The {name} differs from the checkpoint by {difference:.2e}, more than {tolerance:g}. {path} "
                    "was not written.",
                    name=name,
                    difference=difference,
                    tolerance=PARITY_TOLERANCE,
                    path=configuration.path("ALLGraph"),
                ),
                "parity",
            )
    return differences


def session_outputs(graph: Any, output: str, inputs: numpy.ndarray) -> numpy.ndarray:
    """Return float32 [N, classes] of a graph in a TensorFlow session, one image at a time."""
    # Without graph optimization, which takes longer than these few images, and on the CPU: the lower float32 precision
    # of a GPU would exceed the tolerance.
    options = tf.compat.v1.ConfigProto(device_count={"GPU": 0})
    options.graph_options.rewrite_options.disable_meta_optimizer = True
    options.graph_options.optimizer_options.opt_level = -1
    with tf.compat.v1.Session(graph=graph, config=options) as session:
        return numpy.concatenate([session.run(f"{output}:0", {f"{INPUT_NAME}:0": image[None]}) for image in inputs])


def validation_logits(
    configuration: Configuration, manifest: tfrecords.Manifest, arrays: dict[str, numpy.ndarray]
) -> numpy.ndarray:
    """Return the log-probabilities of the validation images, float [N, classes] in the manifest's order, in float32.

    Args:
      configuration: Configuration.
      manifest: lists the validation images.
      arrays: {variable name: float32 array}, with batch norms.
    """
    spec, limits = registry.get_network(configuration).input_spec(configuration), decode.decode_limits(configuration)
    records = Helpers.progress(
        tfrecords.iter_records(configuration, "validation", manifest),
        total=len(manifest.splits["validation"]),
        desc="Calibration",
        unit="image",
    )
    inputs = (spec.normalize(spec.decode_and_resize(record.encoded, limits)) for record in records)
    return calibration.log_probabilities(openvino_outputs(build_frozen_graph(configuration, arrays), inputs))


def openvino_outputs(definition: Any, inputs: collections.abc.Iterable[numpy.ndarray]) -> numpy.ndarray:
    """Return openvino_backend.reference_outputs of a graph without a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "graph.pb"
        path.write_bytes(definition.SerializeToString())
        return openvino_backend.reference_outputs(path, inputs)


def warn_about_condition(configuration: Configuration) -> None:
    """Log a warning if `ALLGraph` is a model for another condition, which the new model will replace."""
    try:
        card = model_card.load_model_card(configuration.card)
    except GraphError:
        # There is no model, or none that can be read.
        return
    if card.condition.short != configuration.condition.short:
        log.warning(
            "%s: a model for %s, which the new model for %s will replace. Change ALLGraph to keep both.",
            card.path,
            card.condition.short,
            configuration.condition.short,
        )


def _common_fields(configuration: Configuration, digest: str) -> dict[str, Any]:
    """Return the fields that every model card has, see model_card.ModelCard."""
    return {
        "version": model_card.CARD_VERSION,
        "network": configuration["Network"],
        "graph": configuration.path("ALLGraph").name,
        "graph_sha256": digest,
        "positive": class_scheme.configured_positive(configuration),
        "groups": class_scheme.configured_groups(configuration),
        "counted": class_scheme.configured_counted(configuration),
        "condition": configuration.condition.to_json(),
        "output": registry.get_network(configuration).OUTPUT,
        "metrics": None,
        "versions": provenance.package_versions(),
        "commit": provenance.git_commit(),
        "created": provenance.utc_now_iso(),
        "notice": Helpers.DISCLAIMER,
    }
