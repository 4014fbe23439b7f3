"""Export the model as a versioned repository for TensorFlow Serving, OpenVINO Model Server and Triton."""

import dataclasses
import logging
import pathlib
import shutil

import numpy
import openvino
import tensorflow as tf

from Classes.common import atomic_files, file_system, interrupts, locks, temp_files, terminal
from Classes.common.config import Configuration
from Classes.common.errors import GraphError, tf_error_reason
from Classes.common.translation import Message
from Classes.common.translation import gettext as _
from Classes.inference import model_card, openvino_backend, openvino_devices

# Names of the input and of the outputs on a server.
INPUT_NAME, PROBABILITIES_NAME, CLASSES_NAME = "input", "probabilities", "classes"

# Number of images on which graph and export have to agree, and the tolerance.
PARITY_IMAGES = 3
PARITY_TOLERANCE = 1e-5

log = logging.getLogger("Trainer")


def export_model_repository(configuration: Configuration) -> int:
    """Write the next version to `ExportDir`/all (or another condition), completely or not at all; return exit code 0.

    Args:
      configuration: uses `ALLGraph`, `ExportDir` and `MaxBatch`.
    Raises:
      GraphError: no model, a graph that does not match its card, or `parity` if graph and export disagree.
      ALLError: another export is running.
    """
    card = model_card.load_model_card(configuration.card)
    card.verify_graph()
    folder = configuration.path("ExportDir") / model_name(card)
    with locks.folder_lock(folder):
        version = folder / str(_next_version(folder))
        temporary = temp_files.temp_path_for(version)
        try:
            difference = _write_version(temporary, card)
            # These first: a server that finds the version needs them.
            atomic_files.write_atomic(folder / "labels.txt", _class_lines(card))
            atomic_files.write_atomic(folder / "config.pbtxt", triton_config(card, configuration["MaxBatch"]))
            temporary.rename(version)
            file_system.fsync_path(folder)
        finally:
            with interrupts.defer_signals():
                shutil.rmtree(temporary, ignore_errors=True)
    log.info("Graph, SavedModel and OpenVINO IR agree on %d images within %.1e.", PARITY_IMAGES, difference)
    log.info("Wrote %s, version %s of the model %s.", version, version.name, folder.name)
    spec = card.input_spec
    values = (spec.size, spec.size, spec.channels, spec.mean, spec.scale)
    log.info("Its input is float32 [N, %d, %d, 3], %s, (pixel - %g) / %g.", *values)
    terminal.show_end(
        _("Exported version {version} of the model.").format(version=version.name), [(_("Folder"), version)]
    )
    return 0


def model_name(card: model_card.ModelCard) -> str:
    """Return the name of the model on a server: the condition, such as "all"."""
    return card.condition.file_name.lower()


def triton_config(card: model_card.ModelCard, max_batch: int) -> str:
    """Return the content of config.pbtxt, Triton's description of the model."""
    return f"""name: "{model_name(card)}"
backend: "openvino"
max_batch_size: {max_batch}
input [
  {{ name: "{INPUT_NAME}" data_type: TYPE_FP32 dims: [ {card.size}, {card.size}, 3 ] }}
]
output [
  {{ name: "{PROBABILITIES_NAME}" data_type: TYPE_FP32 dims: [ {len(card.classes)} ] label_filename: "labels.txt" }}
]
"""


def _next_version(folder: pathlib.Path) -> int:
    """Return the highest version plus 1; a number is never reused, because servers keep loaded versions."""
    return max((int(path.name) for path in folder.iterdir() if path.name.isdecimal()), default=0) + 1


def _class_lines(card: model_card.ModelCard) -> str:
    return "".join(f"{name}\n" for name in card.classes)


def _write_version(folder: pathlib.Path, card: model_card.ModelCard) -> float:
    """Write a version and read it back; return the largest difference of a probability."""
    save_saved_model(folder, card)
    save_openvino_ir(folder / "model.xml", card)
    atomic_files.write_atomic(folder / "labels.txt", _class_lines(card))
    # The export contains the float graph only.
    model_card.write_model_card(folder / "card.json", dataclasses.replace(card, int8=None))
    for path in (*folder.rglob("*"), folder):
        file_system.fsync_path(path)
    return _check_parity(folder, card)


@interrupts.defer_signals()
def save_saved_model(folder: pathlib.Path, card: model_card.ModelCard) -> None:
    """Write a SavedModel for any number of images, with the class names as its second output."""
    definition = tf.compat.v1.GraphDef.FromString(card.graph_path.read_bytes())
    labels = tf.constant([list(card.classes)])

    def imported(images: tf.Tensor) -> tf.Tensor:
        names = {f"{card.input['node']}:0": images}
        return tf.graph_util.import_graph_def(definition, names, [f"{card.output}:0"], name="")[0]

    # Only the placeholder of the frozen graph limits it to one image.
    shape = tf.TensorSpec([None, card.size, card.size, 3], tf.float32, name=INPUT_NAME)
    network = tf.compat.v1.wrap_function(imported, [shape])

    def serve(images: tf.Tensor) -> dict[str, tf.Tensor]:
        probabilities = tf.ensure_shape(network(images), [None, len(card.classes)])
        return {PROBABILITIES_NAME: probabilities, CLASSES_NAME: tf.repeat(labels, tf.shape(probabilities)[0], axis=0)}

    module = tf.Module()
    module.network = network
    module.serve = tf.function(serve, input_signature=[shape])
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    logger = tf.get_logger()
    level = logger.level
    # Its log lines name the temporary folder.
    logger.setLevel(logging.WARNING)
    try:
        tf.saved_model.save(module, str(folder), {"serving_default": module.serve}, options)
    except tf.errors.OpError as error:
        raise GraphError(
            Message(
                "{parent}: could not write the SavedModel ({reason}). Free some disk space.",
                parent=folder.parent,
                reason=tf_error_reason(error),
            )
        ) from error
    finally:
        logger.setLevel(level)


def save_openvino_ir(path: pathlib.Path, card: model_card.ModelCard) -> None:
    """Write OpenVINO's form of the network for any number of images."""
    model = openvino_backend.read_model(openvino_devices.new_core(), card.graph_path)
    model.reshape([-1, card.size, card.size, 3])
    model.inputs[0].get_tensor().set_names({INPUT_NAME})
    model.outputs[0].get_tensor().set_names({PROBABILITIES_NAME})
    # OpenVINO's tools read the labels from here, separated by spaces.
    model.set_rt_info(" ".join(name.replace(" ", "_") for name in card.classes), ["model_info", "labels"])
    try:
        openvino.save_model(model, path, compress_to_fp16=False)
    except RuntimeError as error:
        raise GraphError(
            Message(
                "{parent}: could not write model.xml ({error}). Check the free disk space.",
                parent=path.parent.parent,
                error=error,
            )
        ) from error


@interrupts.defer_signals()
def _check_parity(folder: pathlib.Path, card: model_card.ModelCard) -> float:
    inputs = numpy.random.default_rng(0).uniform(-1, 1, (PARITY_IMAGES, card.size, card.size, 3)).astype("float32")
    expected = openvino_backend.reference_outputs(card.graph_path, inputs)
    served = tf.saved_model.load(str(folder)).signatures["serving_default"](tf.constant(inputs))
    core = openvino_devices.new_core()
    compiled = core.compile_model(folder / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    outputs = {"SavedModel": served[PROBABILITIES_NAME].numpy(), "OpenVINO IR": compiled(inputs)[PROBABILITIES_NAME]}
    differences = {name: float(numpy.abs(each - expected).max()) for name, each in outputs.items()}
    for name, difference in differences.items():
        # NaN fails, too.
        if not difference <= PARITY_TOLERANCE:
            raise GraphError(
                Message(
                    "{graph_path}: its {name} differs by {difference:.1e}. Nothing was exported.",
                    graph_path=card.graph_path,
                    name=name,
                    difference=difference,
                ),
                "parity",
            )
    return max(differences.values())
