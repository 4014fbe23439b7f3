"""Import published Keras weights as the model: freeze them and check the graph against Keras."""

import collections.abc
import dataclasses
import json
import logging
import pathlib
from typing import Any

import numpy
import tf_keras

from Classes.common import class_scheme, provenance, terminal
from Classes.common.config import Configuration
from Classes.common.errors import CheckpointError, GraphError, escape_control_chars
from Classes.common.translation import Message
from Classes.common.translation import gettext as _
from Classes.dataset import synthetic_smears
from Classes.evaluation import operating_point
from Classes.export import freeze_graph, keras_files
from Classes.imaging import network_input
from Classes.networks import pretrained_weights, registry

# Number of synthetic images on which Keras and the backend have to agree, and the tolerance.
PARITY_IMAGES = 8
PARITY_TOLERANCE = 1e-5

# model.json can name any class or function of any module, and Keras would call it. Only these are allowed.
_ALLOWED_LAYERS = {"InputLayer", "ZeroPadding2D", "Conv2D", "MaxPooling2D", "Flatten", "Dense", "Activation", "Dropout"}
_ALLOWED_INITIALIZERS = {"GlorotUniform", "GlorotNormal", "RandomNormal", "RandomUniform", "HeNormal", "Zeros", "Ones"}
ALLOWED_CLASSES = {"Sequential"} | _ALLOWED_LAYERS | _ALLOWED_INITIALIZERS

log = logging.getLogger("Trainer")


def import_keras_weights(configuration: Configuration, source: str | pathlib.Path) -> int:
    """Freeze published weights as `ALLGraph` with its model card, or change neither; return exit code 0.

    The outputs are in the order of the class names. No operating point is chosen, because any image here may have been
    used to train these weights.

    Args:
      configuration: `Network` is the network of the weights.
      source: folder with `weights.h5` and, for a comparison with Keras, `model.json`.
    Raises:
      CheckpointError: `weights_missing`, `weights_mismatch` or `model_json`.
      ConfigurationError: the class names do not match.
      GraphError: `parity`, if graph and Keras disagree.
    """
    weights = keras_files.find_weights(source)
    network, names = registry.get_network(configuration), keras_files.class_names(configuration)
    configuration = configuration.replace(NumClasses=len(names))
    freeze_graph.warn_about_condition(configuration)
    arrays = _read_arrays(network, configuration, weights)
    # Published classifiers were trained on whole images; the crop belongs to this project's own augmentation.
    spec = dataclasses.replace(network.input_spec(configuration), crop=1.0)
    inputs = _parity_inputs(spec)
    difference = _check_parity(configuration, arrays, weights, inputs)
    origin = {
        "classes": names,
        "input": {"node": freeze_graph.INPUT_NAME, **dataclasses.asdict(spec)},
        "calibration": None,
        "synthetic": False,
        "data": {"imported": weights.name, "sha256": provenance.sha256_file(weights)},
        "training": {"keras": difference},
        "colours": None,
    }
    freeze_graph.publish_model(configuration, arrays, inputs, origin, operating_point.OperatingPoint())
    _show_end(configuration, names)
    return 0


def _show_end(configuration: Configuration, names: list[str]) -> None:
    positive = class_scheme.format_names(class_scheme.configured_positive(configuration))
    log.info(
        "The outputs are the classes %s; class %s is %s.", ", ".join(names), positive, configuration.condition.short
    )
    log.warning("The training data of these weights is unknown. Evaluate them on your own images.")
    log.info("Next: python3 Validation.py, or python3 Classifier.py")
    terminal.show_end(
        _("Imported the weights; class {name} is {condition}.").format(
            name=positive, condition=configuration.condition.label
        ),
        [(_("Model"), configuration.path("ALLGraph")), (_("Model card"), configuration.card)],
        "python3 Validation.py",
    )


def _parity_inputs(spec: network_input.InputSpec) -> numpy.ndarray:
    """Return synthetic smears, float32 [PARITY_IMAGES, S, S, 3], each with half the contrast of the one before.

    At full contrast, an overconfident network outputs 0 and 1 even if it is wrong.
    """
    smears = (synthetic_smears.draw_smear(bool(number % 2), number) for number in range(PARITY_IMAGES))
    images = numpy.stack([network_input.center_crop_resize(image, spec.size, spec.crop) for image in smears])
    return spec.normalize(images) * 2 ** -numpy.arange(PARITY_IMAGES, dtype="float32")[:, None, None, None]


def _read_arrays(network: Any, configuration: Configuration, weights: pathlib.Path) -> dict[str, numpy.ndarray]:
    shapes = network.variable_shapes(configuration)
    arrays = pretrained_weights.read_keras_file(weights, network, list(shapes))
    for name, shape in shapes.items():
        found = arrays[name].shape if name in arrays else "missing"
        if found != tuple(shape):
            raise CheckpointError(
                Message(
                    "{weights}: {name} is {found}, {network} needs {expected}. Set Network to the network of "
                    "these weights.",
                    weights=weights,
                    name=name,
                    found=found,
                    network=configuration["Network"],
                    expected=tuple(shape),
                ),
                "weights_mismatch",
            )
    return arrays


def _check_parity(
    configuration: Configuration, arrays: dict[str, numpy.ndarray], weights: pathlib.Path, inputs: numpy.ndarray
) -> float | None:
    """Return the largest difference of a probability to Keras; None without model.json."""
    model = weights.with_name(keras_files.MODEL_FILE)
    if not model.is_file():
        log.warning("%s: missing, so the graph was not compared with Keras", model)
        return None
    outputs = freeze_graph.openvino_outputs(freeze_graph.build_frozen_graph(configuration, arrays), inputs)
    difference = float(numpy.abs(outputs - _keras_outputs(model, weights, inputs)).max())
    # NaN fails, too.
    if not difference <= PARITY_TOLERANCE:
        raise GraphError(
            Message(
                "{weights}: the graph differs from Keras by {difference:.2e}, more than {tolerance:g}. "
                "Nothing was written.",
                weights=weights,
                difference=difference,
                tolerance=PARITY_TOLERANCE,
            ),
            "parity",
        )
    log.info("Keras and the backend agree on %d images within %.1e.", len(inputs), difference)
    return difference


def _keras_outputs(model: pathlib.Path, weights: pathlib.Path, inputs: numpy.ndarray) -> numpy.ndarray:
    """Return the probabilities of Keras, float32 [N, classes]."""
    try:
        text = model.read_text(encoding="utf-8")
        unknown = set(_named_classes(json.loads(text))) - ALLOWED_CLASSES
        if unknown:
            raise ValueError(f"it names {min(unknown)}, which is not allowed")
        network = tf_keras.models.model_from_json(text)
        network.load_weights(weights)
        return network(inputs).numpy()
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError) as error:
        raise CheckpointError(
            Message(
                "{model}: does not describe these weights ({escape_control_chars})",
                model=model,
                escape_control_chars=escape_control_chars(error),
            ),
            "model_json",
        ) from error


def _named_classes(value: Any) -> collections.abc.Iterator[str]:
    """Yield every class name in the content of model.json, at any depth."""
    if isinstance(value, dict):
        if "class_name" in value:
            yield str(value["class_name"])
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _named_classes(each)
