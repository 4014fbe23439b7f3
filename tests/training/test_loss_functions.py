import math

import numpy
import pytest
import sklearn.utils.class_weight
import tensorflow as tf

from Classes import Helpers
from Classes.common.errors import ConfigurationError
from Classes.training import loss_functions

LABELS = numpy.array([0, 0, 0, 1], "int64")


def weights(wanted, labels=LABELS):
    return loss_functions.class_weights(Helpers.load_config(None, [f"ClassWeights={wanted}"]), labels)


def test_weights():
    balanced = sklearn.utils.class_weight.compute_class_weight("balanced", classes=numpy.array([0, 1]), y=LABELS)

    assert weights("none").tolist() == [1, 1]
    assert weights("balanced") == pytest.approx(balanced)
    assert weights("1,5") == pytest.approx([0.5, 2.5]), "3 x 0.5 + 1 x 2.5 are 4 images"
    with pytest.raises(ConfigurationError) as raised:
        weights("1,2,3")
    assert raised.value.code == "class_weights"


def test_cross_entropy_worked_out_by_hand():
    logits = tf.constant([[0.0, math.log(3)], [0.0, 0.0]])
    labels = tf.constant([1, 0], tf.int64)
    first, second = -math.log(0.75), -math.log(0.5)

    assert float(loss_functions.cross_entropy(labels, logits)) == pytest.approx((first + second) / 2)
    weighted = loss_functions.cross_entropy(labels, logits, tf.constant([0.5, 1.5]))
    assert float(weighted) == pytest.approx((1.5 * first + 0.5 * second) / 2)
    smoothed = loss_functions.cross_entropy(labels, logits, smoothing=0.2)
    assert float(smoothed) == pytest.approx((0.9 * first - 0.1 * math.log(0.25) + second) / 2)
