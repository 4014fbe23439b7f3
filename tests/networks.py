"""A narrow Inception V3 on small images: the real network, in seconds."""

import numpy

from Classes import Helpers, inception_v3

SIZE = 75
DEPTH = 0.1
SMALL = (f"ImageSize={SIZE}", f"DepthMultiplier={DEPTH}", "Precision=f32", "TrainingPrecision=f32")


def configuration(folder, *settings):
    """The shipped configuration with every path under `folder` and the small network."""
    return Helpers.load(None, [f"NetworkPath={folder}", *SMALL, *settings])


def arrays(seed=0, classes=2, auxiliary=False):
    """Random values for every variable, batch-norm statistics included, such that activations stay of size one."""
    generator = numpy.random.default_rng(seed)
    values = {}
    for name, shape in inception_v3.shapes(classes, SIZE, DEPTH, auxiliary).items():
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
