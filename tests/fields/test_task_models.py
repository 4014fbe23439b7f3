"""The models of a task are those that the run was started with."""

import contextlib

import pytest

from Classes.common.errors import GraphError
from Classes.common.paths import PROJECT
from Classes.fields import field_models, task_models
from Classes.inference.model_card import load_model_card


@pytest.mark.parametrize("changed", [{"sha256": "0" * 64}, {"threshold": 0.99}])
def test_another_finder_than_at_the_start_ends_the_run(configuration, changed):
    card = load_model_card(PROJECT / field_models.TYPE_MODEL, cell_types=True)
    settings = task_models.make_settings(configuration, card, None, PROJECT / field_models.FINDER)
    settings["finder"] |= changed
    with contextlib.ExitStack() as stack, pytest.raises(GraphError) as error:
        task_models.open_models(settings, stack)
    assert error.value.code == "model_changed"
