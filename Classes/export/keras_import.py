"""Published Keras weights as the project's model: frozen, proven equal to Keras's own answers, served as they are."""

import dataclasses
import json
import logging
import pathlib

import numpy
import tf_keras

from Classes.common import atomic_files
from Classes.common.errors import CheckpointError, ConfigurationError, GraphError, escape_control_chars
from Classes.dataset import synthetic_smears
from Classes.evaluation import operating_point
from Classes.export import freeze_graph
from Classes.imaging import network_input
from Classes.networks import pretrained_weights, registry

WEIGHTS_FILE, MODEL_FILE = "weights.h5", "model.json"

# Drawn images that Keras and the engine have to agree on, and how closely.
PARITY_IMAGES = 8
PARITY_TOLERANCE = 1e-5

# A description may name any class or function of any module, and Keras would call it; it may name these.
ALLOWED_LAYERS = {
    "Sequential",
    "InputLayer",
    "ZeroPadding2D",
    "Conv2D",
    "MaxPooling2D",
    "Flatten",
    "Dense",
    "Activation",
}
ALLOWED_LAYERS |= {
    "Dropout",
    "GlorotUniform",
    "GlorotNormal",
    "RandomNormal",
    "RandomUniform",
    "HeNormal",
    "Zeros",
    "Ones",
}

log = logging.getLogger("Trainer")


def import_keras_weights(configuration, source):
    """Freeze published weights as `ALLGraph` with its model card, or leave both as they were.

    The outputs are taken in the order of the class names. No threshold, temperature or band is chosen, since there are
    no images here that these weights are known not to have seen.

    Args:
      configuration: Configuration; `Network` says which network the weights are of.
      source: folder with `weights.h5` and, where Keras's own answers are to be compared, `model.json`.
    Returns:
      exit code 0.
    Raises:
      CheckpointError: no whole weights of this network there.
      ConfigurationError: the classes are not the network's.
      GraphError: the graph answers otherwise than Keras.
    """
    weights = pathlib.Path(source) / WEIGHTS_FILE
    network, names = registry.get_network(configuration), class_names(configuration)
    if not weights.is_file():
        raise CheckpointError(f"{weights}: missing; give the folder that holds {WEIGHTS_FILE} and {MODEL_FILE}")
    arrays = _read_arrays(network, configuration, weights)
    # Published classifiers were trained on whole pictures; the crop is that of this project's own distortions.
    view = dataclasses.replace(network.input_spec(configuration), crop=1.0)
    inputs = _parity_inputs(view)
    difference = _check_parity(configuration, arrays, weights, inputs)
    about = {
        "classes": names,
        "input": {"node": freeze_graph.INPUT_NAME, **dataclasses.asdict(view)},
        "calibration": None,
        "synthetic": False,
        "data": {"imported": weights.name, "sha256": atomic_files.sha256_file(weights)},
        "training": {"keras": difference},
        "colours": None,
    }
    freeze_graph.publish_model(configuration, arrays, inputs, about, operating_point.OperatingPoint())
    log.info("The outputs are taken as %s; class %s is ALL.", ", ".join(names), configuration["PositiveClass"])
    log.warning("What these weights were trained on is not known here: measure them on your images before you believe.")
    log.info("Next: python3 Validation.py, or python3 Classifier.py")
    return 0


def class_names(configuration):
    """The class names: those of the data folder, else the outputs' numbers.

    Raises:
      ConfigurationError: as many as there are do not fit `NumClasses`, or `PositiveClass` is none of them.
    """
    file = configuration.path("DatasetDir") / configuration["Classes"]
    try:
        found = file.read_text(encoding="utf-8").splitlines() if file.is_file() else None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{file}: damaged, no text ({error.reason}); run python3 Data.py") from error
    names = found or [str(number) for number in range(configuration["NumClasses"])]
    if len(names) != configuration["NumClasses"] or configuration["PositiveClass"] not in names:
        raise ConfigurationError(
            f"NumClasses is {configuration['NumClasses']} and PositiveClass {configuration['PositiveClass']!r}; "
            f"the classes are {', '.join(names)}"
        )
    return names


def _parity_inputs(view):
    """Drawn smears, each half as strong as the one before, float32 [CHECKED, S, S, 3].

    At full strength a network that is sure of everything answers 0 and 1, whatever else is wrong with it.
    """
    drawn = (synthetic_smears.draw_smear(bool(number % 2), number) for number in range(PARITY_IMAGES))
    images = numpy.stack([network_input.center_crop_resize(image, view.size, view.crop) for image in drawn])
    return view.normalize(images) * 2 ** -numpy.arange(PARITY_IMAGES, dtype="float32")[:, None, None, None]


def _read_arrays(network, configuration, weights):
    shapes = network.variable_shapes(configuration)
    arrays = pretrained_weights.read_keras_file(weights, network, list(shapes))
    for name, shape in shapes.items():
        found = arrays[name].shape if name in arrays else "missing"
        if found != tuple(shape):
            raise CheckpointError(
                f"{weights}: {name} is {found}, {configuration['Network']} needs {tuple(shape)}; set Network to the "
                "network that these weights are of"
            )
    return arrays


def _check_parity(configuration, arrays, weights, inputs):
    """The largest difference of a probability to what Keras answers; None where there is no description for it."""
    model = weights.with_name(MODEL_FILE)
    if not model.is_file():
        log.warning("%s: missing, so that Keras's own answers could not be compared", model)
        return None
    answers = freeze_graph.openvino_outputs(freeze_graph.build_frozen_graph(configuration, arrays), inputs)
    difference = float(numpy.abs(answers - _keras_outputs(model, weights, inputs)).max())
    # False for NaN too.
    if not difference <= PARITY_TOLERANCE:
        raise GraphError(
            f"{weights}: the graph differs from Keras's answers by {difference:.2e} where {PARITY_TOLERANCE:g} is allowed; "
            "nothing was written"
        )
    log.info("Keras and the engine agree on %d images within %.1e.", len(inputs), difference)
    return difference


def _keras_outputs(model, weights, inputs):
    """What Keras answers, float32 [N, classes]."""
    try:
        text = model.read_text(encoding="utf-8")
        unknown = set(_class_names(json.loads(text))) - ALLOWED_LAYERS
        if unknown:
            raise ValueError(f"it names {min(unknown)}, which is not known to be harmless")
        network = tf_keras.models.model_from_json(text)
        network.load_weights(weights)
        return network(inputs).numpy()
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError) as error:
        raise CheckpointError(
            f"{model}: not the description of these weights ({escape_control_chars(error)})"
        ) from error


def _class_names(value):
    """Every class that a description names, however deep."""
    if isinstance(value, dict):
        if "class_name" in value:
            yield str(value["class_name"])
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _class_names(each)
