import pytest

from Classes import Helpers
from Classes.training import lr_schedule


def rates(steps, *settings, steps_per_epoch=10):
    configuration = Helpers.load_config(None, list(settings))
    return [lr_schedule.learning_rate(configuration, step, steps_per_epoch) for step in steps]


def test_the_staircase_is_the_historic_one():
    found = rates([epoch * 10 + 9 for epoch in (0, 9, 10, 19, 20, 64)])

    assert found == pytest.approx([1e-4, 1e-4, 0.8e-4, 0.8e-4, 0.64e-4, 1e-4 * 0.8**6])


def test_a_cosine_begins_high_halves_in_the_middle_and_ends_at_nothing():
    found = rates([0, 50, 100], "Schedule=cosine", "Epochs=10", "LearningRate=0.2")

    assert found == pytest.approx([0.2, 0.1, 0], abs=1e-12)


def test_a_warm_up_rises_in_a_line_to_the_rate_and_then_the_schedule_follows():
    settings = ("WarmupEpochs=1", "LearningRate=0.11")

    assert rates([0, 4, 9, 10, 99], *settings) == pytest.approx([0.01, 0.05, 0.1, 0.11, 0.11])
    assert rates([10, 60, 110], *settings, "Schedule=cosine", "Epochs=11") == pytest.approx([0.11, 0.055, 0], abs=1e-12)
