import json

import pytest

from Classes import Helpers
from Classes.common.errors import CheckpointError
from Classes.common.paths import PROJECT
from Classes.networks import checkpoint_files, weight_files
from tests.support import small_networks
from tests.support.errors import raises


def test_a_path_that_leads_nowhere(tmp_path):
    with raises(CheckpointError, "weights_missing"):
        weight_files.resolve_weights(small_networks.configuration(tmp_path, "Pretrained=nowhere"))


def test_nothing_given_takes_what_lies_in_the_folder(tmp_path):
    configuration = small_networks.configuration(tmp_path)
    assert weight_files.resolve_weights(configuration) is None

    prefix = checkpoint_files.save_checkpoint(tmp_path / "Model/Pretrained", 1, small_networks.arrays())

    assert weight_files.resolve_weights(configuration) == prefix
    assert weight_files.resolve_weights(small_networks.configuration(tmp_path, "Pretrained=none")) is None


def ship(folder, size=96, width=0.2):
    """Weights that come with the project, as far as the search for them looks."""
    path = folder / "Model/WhiteCells/WhiteCells.pb"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    card = {"input": {"size": size}, "training": {"depth_multiplier": width}}
    path.with_suffix(".json").write_text(json.dumps(card))
    return path


def test_the_weights_that_come_with_the_project_are_the_default_and_know_their_shape(tmp_path):
    path = ship(tmp_path)
    published = tmp_path / "Model/Pretrained/inception_v3.ckpt.index"
    published.parent.mkdir()
    published.touch()

    def configuration(*settings):
        return Helpers.load_config(None, [f"NetworkPath={tmp_path}", *settings])

    fitted = weight_files.fit_to_weights(configuration())
    assert weight_files.resolve_weights(fitted) == path
    assert (fitted["ImageSize"], fitted["DepthMultiplier"]) == (96, 0.2)
    assert weight_files.fit_to_weights(fitted) is fitted
    # What the user chose stays, and another width needs other weights.
    assert weight_files.fit_to_weights(configuration("ImageSize=160"))["ImageSize"] == 160
    other = configuration("DepthMultiplier=0.5")
    assert weight_files.resolve_weights(other) == published.with_suffix("")
    assert weight_files.fit_to_weights(other) is other
    for setting in ("Pretrained=Model/Pretrained", "Pretrained=none", "Network=AllCNN"):
        chosen = configuration(setting)
        assert weight_files.fit_to_weights(chosen) is chosen
        assert weight_files.resolve_weights(chosen) != path
    named = weight_files.fit_to_weights(configuration("Pretrained=Model/WhiteCells"))
    assert (named["ImageSize"], named["DepthMultiplier"]) == (96, 0.2)


def test_shipped_weights_are_used_wherever_the_data_lies(tmp_path):
    elsewhere = Helpers.load_config(None, [f"NetworkPath={tmp_path}"])
    shipped = PROJECT / "Model/WhiteCells/WhiteCells.pb"

    assert weight_files.resolve_weights(elsewhere) == shipped
    assert weight_files.fit_to_weights(elsewhere)["DepthMultiplier"] == 0.25
    assert weight_files.resolve_weights(elsewhere.replace(DepthMultiplier=0.5)) is None
    assert weight_files.resolve_weights(elsewhere.replace(Pretrained="none")) is None

    own = ship(tmp_path)
    assert weight_files.resolve_weights(elsewhere) == own


def test_a_damaged_card_of_shipped_weights_is_named(tmp_path):
    ship(tmp_path).with_suffix(".json").write_text("{}")

    with pytest.raises(CheckpointError, match=r"WhiteCells\.json"):
        weight_files.fit_to_weights(Helpers.load_config(None, [f"NetworkPath={tmp_path}"]))
