"""The trained model as a versioned repository for model servers: TensorFlow Serving, OpenVINO Model Server, Triton."""

import dataclasses
import logging
import shutil

import numpy
import openvino
import tensorflow as tf

from Classes.common import atomic_files, interrupts
from Classes.common.errors import GraphError, tf_error_reason
from Classes.inference import model_card, openvino_backend

# The model's name at a server, and those of its input and its outputs.
MODEL_NAME, INPUT_NAME, PROBABILITIES_NAME, CLASSES_NAME = "all", "input", "probabilities", "classes"

# Images that graph and export have to agree on, and how closely.
PARITY_IMAGES = 3
PARITY_TOLERANCE = 1e-5

log = logging.getLogger("Trainer")


def export_model_repository(configuration):
    """Write the next version to `ExportDir`/all, whole or not at all.

    Args:
      configuration: Configuration; `ALLGraph`, `ExportDir` and `MaxBatch` are used.
    Returns:
      exit code 0.
    Raises:
      GraphError: there is no model, it is not its card's, or what was written does not answer as it does.
      ALLError: another export is under way.
    """
    card = model_card.load_model_card(configuration.card)
    card.verify_graph()
    folder = configuration.path("ExportDir") / MODEL_NAME
    with atomic_files.folder_lock(folder):
        version = folder / str(_next_version(folder))
        temporary = atomic_files.temp_path_for(version)
        try:
            difference = _write_version(temporary, card)
            # Before the version: a server that finds the one wants the other.
            atomic_files.write_atomic(folder / "labels.txt", _class_lines(card))
            atomic_files.write_atomic(folder / "config.pbtxt", triton_config(card, configuration["MaxBatch"]))
            temporary.rename(version)
            atomic_files.fsync_path(folder)
        finally:
            with interrupts.defer_signals():
                shutil.rmtree(temporary, ignore_errors=True)
    log.info("Graph, SavedModel and OpenVINO IR agree on %d images within %.1e.", PARITY_IMAGES, difference)
    log.info("Wrote %s; the model's name is %s, its version %s.", version, MODEL_NAME, version.name)
    view = card.input_spec
    form = (view.size, view.size, view.channels, view.mean, view.scale)
    log.info("Images go in as float32 [N, %d, %d, 3], %s, (pixel - %g) / %g.", *form)
    return 0


def triton_config(card, most):
    """Triton's description of the model.

    Args:
      card: model_card.ModelCard.
      most: images in a batch at most.
    Returns:
      text of a config.pbtxt.
    """
    return f"""name: "{MODEL_NAME}"
backend: "openvino"
max_batch_size: {most}
input [
  {{ name: "{INPUT_NAME}" data_type: TYPE_FP32 dims: [ {card.size}, {card.size}, 3 ] }}
]
output [
  {{ name: "{PROBABILITIES_NAME}" data_type: TYPE_FP32 dims: [ {len(card.classes)} ] label_filename: "labels.txt" }}
]
"""


def _next_version(folder):
    """One more than the highest version there is; a number is never used twice, since servers keep what they loaded."""
    return max((int(path.name) for path in folder.iterdir() if path.name.isdecimal()), default=0) + 1


def _class_lines(card):
    return "".join(f"{name}\n" for name in card.classes)


def _write_version(folder, card):
    """Write a version and read it back; returns the largest difference in a probability."""
    _save_tensorflow(folder, card)
    _save_openvino(folder / "model.xml", card)
    atomic_files.write_atomic(folder / "labels.txt", _class_lines(card))
    # What is exported is the float graph.
    model_card.write_model_card(folder / "card.json", dataclasses.replace(card, int8=None))
    for path in (*folder.rglob("*"), folder):
        atomic_files.fsync_path(path)
    return _check_parity(folder, card)


@interrupts.defer_signals()
def _save_tensorflow(folder, card):
    definition = tf.compat.v1.GraphDef.FromString(card.graph_path.read_bytes())
    labels = tf.constant([list(card.classes)])

    def imported(images):
        names = {f"{card.input['node']}:0": images}
        return tf.graph_util.import_graph_def(definition, names, [f"{card.output}:0"], name="")[0]

    # The frozen graph takes one image; nothing in it but its door insists on that.
    shape = tf.TensorSpec([None, card.size, card.size, 3], tf.float32, name=INPUT_NAME)
    network = tf.compat.v1.wrap_function(imported, [shape])

    def serve(images):
        answers = tf.ensure_shape(network(images), [None, len(card.classes)])
        return {PROBABILITIES_NAME: answers, CLASSES_NAME: tf.repeat(labels, tf.shape(answers)[0], axis=0)}

    module = tf.Module()
    module.network = network
    module.serve = tf.function(serve, input_signature=[shape])
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    logger = tf.get_logger()
    level = logger.level
    # It would name the temporary folder.
    logger.setLevel(logging.WARNING)
    try:
        tf.saved_model.save(module, str(folder), {"serving_default": module.serve}, options)
    except tf.errors.OpError as error:
        words = f"the SavedModel could not be written ({tf_error_reason(error)}); free some space and run this again"
        raise GraphError(f"{folder.parent}: {words}") from error
    finally:
        logger.setLevel(level)


def _save_openvino(path, card):
    model = openvino_backend.read_model(openvino_backend.new_core(), card.graph_path)
    model.reshape([-1, card.size, card.size, 3])
    model.inputs[0].get_tensor().set_names({INPUT_NAME})
    model.outputs[0].get_tensor().set_names({PROBABILITIES_NAME})
    # Where OpenVINO's own tools look for them: separated by spaces, so that a name may have none.
    model.set_rt_info(" ".join(name.replace(" ", "_") for name in card.classes), ["model_info", "labels"])
    try:
        openvino.save_model(model, path, compress_to_fp16=False)
    except RuntimeError as error:
        raise GraphError(
            f"{path.parent.parent}: model.xml could not be written ({error}); is the disk full?"
        ) from error


@interrupts.defer_signals()
def _check_parity(folder, card):
    inputs = numpy.random.default_rng(0).uniform(-1, 1, (PARITY_IMAGES, card.size, card.size, 3)).astype("float32")
    expected = openvino_backend.reference_outputs(card.graph_path, inputs)
    served = tf.saved_model.load(str(folder)).signatures["serving_default"](tf.constant(inputs))
    core = openvino_backend.new_core()
    compiled = core.compile_model(folder / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = {"SavedModel": served[PROBABILITIES_NAME].numpy(), "OpenVINO IR": compiled(inputs)[PROBABILITIES_NAME]}
    differences = {name: float(numpy.abs(answers - expected).max()) for name, answers in found.items()}
    for name, difference in differences.items():
        # False for NaN too.
        if not difference <= PARITY_TOLERANCE:
            raise GraphError(
                f"{card.graph_path}: its {name} answers otherwise, by {difference:.1e}; nothing was exported"
            )
    return max(differences.values())
