"""A narrow Inception V3 on small images: the real network, in seconds."""

import numpy

from Classes import Helpers, inception_v3

SIZE = 75
DEPTH = 0.1
SMALL = (f"ImageSize={SIZE}", f"DepthMultiplier={DEPTH}", "Precision=f32", "TrainingPrecision=f32")


def configuration(folder, *settings):
    """The shipped configuration with every path under `folder` and the small network."""
    return Helpers.load_config(None, [f"NetworkPath={folder}", *SMALL, *settings])


def arrays(seed=0, classes=2, auxiliary=False):
    """Random values for every variable, batch-norm statistics included, such that activations stay of size one."""
    generator = numpy.random.default_rng(seed)
    values = {}
    for name, shape in inception_v3.variable_shapes(classes, SIZE, DEPTH, auxiliary).items():
        kind = name.rpartition("/")[2]
        if kind == "weights":
            values[name] = generator.normal(0, numpy.sqrt(2 / numpy.prod(shape[:3])), shape)
        elif kind == "moving_variance":
            values[name] = generator.uniform(0.5, 2, shape)
        else:
            values[name] = generator.normal(0, 0.1, shape)
    return {name: value.astype("float32") for name, value in values.items()}


def images(count, seed=0):
    """Random images, uint8 [count, SIZE, SIZE, 3]."""
    return numpy.random.default_rng(seed).integers(0, 256, (count, SIZE, SIZE, 3), dtype="uint8")


def published(folder, seed=0):
    """The small network as others publish it: Keras's own layers with random weights.

    Args:
      folder: pathlib.Path that gets `model.json` and `weights.h5`.
    Returns:
      the Keras model.
    """
    import tf_keras

    layers = tf_keras.layers
    tf_keras.utils.set_random_seed(seed)
    model = tf_keras.Sequential(
        [
            layers.InputLayer([100, 100, 3]),
            layers.ZeroPadding2D(2),
            layers.Conv2D(30, 5, activation="relu", bias_initializer="random_normal"),
            layers.ZeroPadding2D(2),
            layers.Conv2D(30, 5, activation="relu", bias_initializer="random_normal"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(2, bias_initializer="random_normal"),
            layers.Activation("softmax"),
        ]
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.json").write_text(model.to_json())
    model.save_weights(folder / "weights.h5")
    return model
