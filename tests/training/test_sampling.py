import collections

import numpy
import pytest

from Classes.training import loss_functions, run_identity, sampling
from tests.support import small_networks

LABELS = numpy.array([0] * 12 + [1] * 5 + [2] * 1)


def test_every_class_is_used_equally_often():
    order = sampling.balanced_order(LABELS, seed=7, epoch=0)
    assert collections.Counter(LABELS[order]) == {0: 6, 1: 6, 2: 6}
    # Five images, six places: each once, one of them twice.
    assert sorted(numpy.bincount(order, minlength=18)[12:17]) == [1, 1, 1, 1, 2]
    assert numpy.bincount(order, minlength=18)[17] == 6


def test_the_seed_and_the_epoch_decide_the_order():
    first = sampling.balanced_order(LABELS, 7, 0)
    numpy.testing.assert_array_equal(first, sampling.balanced_order(LABELS, 7, 0))
    assert (first != sampling.balanced_order(LABELS, 7, 1)).any()
    assert (first != sampling.balanced_order(LABELS, 8, 0)).any()


def test_images_of_a_frequent_class_take_turns():
    used = {row for epoch in range(20) for row in sampling.balanced_order(LABELS, 7, epoch)}
    assert used == set(range(18))


@pytest.mark.parametrize("count", [3, 4, 5, 17])
def test_an_epoch_has_as_many_images_as_the_data_set(count):
    labels = numpy.arange(count) % 3
    for epoch in range(3):
        found = numpy.bincount(labels[sampling.balanced_order(labels, 1, epoch)], minlength=3)
        assert found.sum() == count
        assert found.max() - found.min() <= 1


def test_balanced_sampling_leaves_nothing_to_balanced_weights(tmp_path):
    settings = ["NumClasses=3", "ClassWeights=balanced"]
    natural = loss_functions.class_weights(small_networks.configuration(tmp_path, *settings), LABELS)
    # 18 images, 3 classes: 6 divided by the images of the class.
    numpy.testing.assert_allclose(natural, [0.5, 1.2, 6])
    balanced = small_networks.configuration(tmp_path, *settings, "Sampling=balanced")
    numpy.testing.assert_allclose(loss_functions.class_weights(balanced, LABELS), [1, 1, 1])


def test_another_sampling_is_another_run(tmp_path):
    natural = run_identity.identity_settings(small_networks.configuration(tmp_path))
    balanced = run_identity.identity_settings(small_networks.configuration(tmp_path, "Sampling=balanced"))
    assert natural != balanced
    assert "Sampling" not in natural
