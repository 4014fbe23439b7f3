"""The cell finder's network: targets by hand, the reach of a pixel, and a run that continues after a stop."""

import numpy
import pytest

from Classes.training import finder, finder_composition, finder_network, finder_publish
from Classes.training.finder_sources import RED, WHITE
from tests.training.test_finder_composition import photograph


def test_targets_of_one_cell():
    red_known = numpy.ones((64, 64), bool)
    targets, weights = finder_network.make_targets(numpy.array([[22, 13, 24, 48, WHITE, 1]], "float32"), red_known)

    # Column 5 is pixels 20 to 24, with the middle 22; row 3 is 12 to 16, with the middle 14.
    assert targets.shape == (16, 16, finder_network.CHANNELS)
    assert targets[3, 5].tolist() == pytest.approx([1, 0, 0, numpy.log(2), 0, -0.25])
    assert numpy.unravel_index(targets[..., WHITE].argmax(), (16, 16)) == (3, 5)
    assert targets[..., RED].max() == 0
    assert weights[..., 2].sum() == weights[3, 5, 2] == 1


def test_no_answer_is_asked_for_where_the_truth_is_not_known():
    red_known = numpy.ones((64, 64), bool)
    red_known[:, 32:] = False
    targets, weights = finder_network.make_targets(numpy.array([[16, 16, 16, 16, WHITE, 0]], "float32"), red_known)

    assert targets.max() == 0
    assert weights[4, 4, WHITE] == 0
    assert weights[4, 4, RED] == weights[12, 4, WHITE] == 1
    assert weights[4, 12, RED] == 0


def test_the_loss_is_small_for_the_right_answer_only():
    red_known = numpy.ones((64, 64), bool)
    targets, weights = finder_network.make_targets(numpy.array([[22, 14, 24, 24, WHITE, 1]], "float32"), red_known)
    right = targets.copy()
    right[..., :2] = numpy.where(targets[..., :2] == 1, 12, -12)
    wrong = right.copy()
    wrong[..., :2] *= -1
    wrong[..., 2:] += 1

    good = finder_network.loss(targets[None], weights[None], right[None])
    bad = finder_network.loss(targets[None], weights[None], wrong[None])
    assert set(good) == {"white", "red", "size", "offset"}
    for name in good:
        assert float(good[name]) < 0.01 < float(bad[name])


@pytest.mark.slow
def test_a_pixel_changes_nothing_beyond_the_halo():
    network = finder_network.build_network()
    side = 2 * finder_publish.HALO + 96
    images = numpy.random.default_rng(0).integers(0, 256, (1, side, side, 3), dtype="uint8")
    changed = images.copy()
    changed[0, side // 2, side // 2] = 255 - changed[0, side // 2, side // 2]
    difference = numpy.abs(
        network(finder_network.normalize(images)).numpy() - network(finder_network.normalize(changed)).numpy()
    )[0].max(axis=-1)

    rows, columns = numpy.nonzero(difference)
    assert len(rows) > 100
    reach = max(abs(rows * 4 + 2 - side / 2).max(), abs(columns * 4 + 2 - side / 2).max())
    assert reach <= finder_publish.HALO


class Settings(dict):
    """As much of a Configuration as the training reads."""


def settings(epochs):
    return Settings(
        RandomSeed=3,
        BatchSize=2,
        ImageSize=64,
        Epochs=epochs,
        EmaDecay=0.9,
        LearningRate=0.001,
        LogEvery=1,
        SaveSeconds=0,
    )


@pytest.mark.slow
def test_a_stopped_run_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(finder, "BATCHES_PER_EPOCH", 2)
    sources = finder_composition.Sources([photograph()], [photograph()], [photograph([])])
    whole = finder.Training(settings(2), tmp_path / "whole")
    whole.run(sources)

    stopped = finder.Training(settings(2), tmp_path / "stopped")
    learn = finder.Training._learn

    def fail_at_2(self, *arguments):
        if int(self.step) == 2:
            raise KeyboardInterrupt
        return learn(self, *arguments)

    monkeypatch.setattr(finder.Training, "_learn", fail_at_2)
    with pytest.raises(KeyboardInterrupt):
        stopped.run(sources)
    monkeypatch.setattr(finder.Training, "_learn", learn)
    resumed = finder.Training(settings(2), tmp_path / "stopped")
    assert int(resumed.step) == 2
    resumed.run(sources)

    assert int(resumed.step) == int(whole.step) == 4
    averages = [training.averaged_network().get_weights() for training in (resumed, whole)]
    for value, expected in zip(*averages, strict=True):
        assert value == pytest.approx(expected, abs=1e-5)
