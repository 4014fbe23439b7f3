"""The training loss: cross entropy with optional class weights and label smoothing."""

import numpy
import tensorflow as tf

from Classes.common.config import Configuration
from Classes.common.errors import ConfigurationError
from Classes.common.translation import Message
from Classes.training import sampling


def class_weights(configuration: Configuration, labels: numpy.ndarray) -> numpy.ndarray:
    """Return the weight of each class in the loss.

    Args:
      configuration: `ClassWeights` is "none", "balanced" (each class has the same total weight in an epoch, which
        balanced sampling gives it already) or one number per class, such as "1,5".
      labels: int [N] of the training split.
    Returns:
      float32 [C]. The mean over the images of an epoch is 1, so that the learning rate keeps its meaning.
    Raises:
      ConfigurationError: the number of weights is not the number of classes.
    """
    wanted, classes = configuration["ClassWeights"], configuration["NumClasses"]
    counts = sampling.images_per_epoch(configuration, labels, classes)
    if wanted == "none":
        return numpy.ones(classes, "float32")
    if wanted == "balanced":
        weights = 1 / numpy.maximum(counts, 1)
    else:
        weights = numpy.array(wanted.split(","), float)
        if len(weights) != classes:
            raise ConfigurationError(
                Message(
                    "ClassWeights has {count} numbers, but there are {classes} classes. Give one per class.",
                    count=len(weights),
                    classes=classes,
                ),
                code="class_weights",
            )
    return (weights * counts.sum() / max((weights * counts).sum(), 1e-12)).astype("float32")


def cross_entropy(
    labels: tf.Tensor, logits: tf.Tensor, weights: tf.Tensor | None = None, smoothing: float = 0.0
) -> tf.Tensor:
    """Return the mean cross entropy of a batch.

    Args:
      labels: int64 [N].
      logits: [N, C], float32 or a shorter float.
      weights: float32 [C], see `class_weights`; None weights all classes equally.
      smoothing: fraction of the target probability that is spread over all classes (Szegedy et al., arXiv:1512.00567,
        section 7).
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
