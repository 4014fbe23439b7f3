"""What training makes small: cross entropy, with the weights and the smoothing that are asked for."""

import numpy
import tensorflow as tf

from Classes.common.errors import ConfigurationError


def class_weights(configuration, labels):
    """How much an image of each class counts.

    Args:
      configuration: Configuration; `ClassWeights` is "none", "balanced" (every class counts alike, however many images
        it has) or a number for each class, such as "1,5".
      labels: int [N] of the training split.
    Returns:
      float32 [C], scaled such that the mean over the images is 1 and the learning rate keeps its meaning.
    Raises:
      ConfigurationError: too many or too few numbers.
    """
    wanted, classes = configuration["ClassWeights"], configuration["NumClasses"]
    counts = numpy.bincount(labels, minlength=classes)
    if wanted == "none":
        return numpy.ones(classes, "float32")
    if wanted == "balanced":
        weights = 1 / numpy.maximum(counts, 1)
    else:
        weights = numpy.array(wanted.split(","), float)
        if len(weights) != classes:
            raise ConfigurationError(f"ClassWeights has {len(weights)} numbers; there are {classes} classes")
    return (weights * counts.sum() / max((weights * counts).sum(), 1e-12)).astype("float32")


def cross_entropy(labels, logits, weights=None, smoothing=0.0):
    """The mean cross entropy of a batch.

    Args:
      labels: int64 [N].
      logits: [N, C], float32 or a narrower kind.
      weights: float32 [C] of `class_weights`; None: all alike.
      smoothing: share of the certainty that goes to all classes alike (Szegedy et al., arXiv:1512.00567, section 7).
    Returns:
      float32 scalar.
    """
    logits = tf.cast(logits, tf.float32)
    if smoothing:
        classes = logits.shape[-1]
        targets = tf.one_hot(labels, classes) * (1 - smoothing) + smoothing / classes
        losses = tf.nn.softmax_cross_entropy_with_logits(targets, logits)
    else:
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    return tf.reduce_mean(losses if weights is None else losses * tf.gather(weights, labels))
