"""Synthetic smears: reproducible, told apart by the cell, and never among real images."""

import numpy
import PIL.Image
import pytest

import Data
from Classes import Helpers
from Classes.common.errors import DataError
from Classes.dataset import synthetic_smears
from tests.support import smears


@pytest.fixture
def configuration(tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic_smears, "N_PER_CLASS", 3)
    monkeypatch.setattr(synthetic_smears, "N_TEST_IMAGES", 4)
    return Helpers.load_config(None, [f"NetworkPath={tmp_path}"])


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.jpg")}


def test_names_counts_and_equal_bytes_for_equal_seeds(configuration, tmp_path):
    assert synthetic_smears.create_demo_dataset(configuration) == 0
    first = content(tmp_path)
    assert sorted(first) == [
        *(
            f"Model/Data/{positive}/Synthetic_{number:04d}_{positive}.jpg"
            for positive in (0, 1)
            for number in (1, 2, 3)
        ),
        *(f"Model/Test/Synthetic_{number:04d}_{positive}.jpg" for number in (4, 5) for positive in (0, 1)),
    ]
    assert len(set(first.values())) == 10

    synthetic_smears.create_demo_dataset(configuration)
    assert content(tmp_path) == first

    synthetic_smears.create_demo_dataset(Helpers.load_config(None, [f"NetworkPath={tmp_path}", "RandomSeed=51"]))
    assert not set(content(tmp_path).values()) & set(first.values())


def test_a_smear_is_an_rgb_image_of_the_stated_size():
    image = synthetic_smears.draw_smear(True, 1)

    assert image.shape == (synthetic_smears.SMEAR_SIDE, synthetic_smears.SMEAR_SIDE, 3)
    assert image.dtype == numpy.uint8


def test_the_nucleus_tells_the_classes_apart_and_the_background_does_not():
    def areas(blast):
        images = [synthetic_smears.draw_smear(blast, [9, int(blast), number]).astype(int) for number in range(12)]
        # Nuclei are much less green than anything else; the corners show background and red cells only.
        nuclei = [(image[..., 1] < 110).mean() for image in images]
        corners = [image[:30].mean() for image in images]
        return numpy.array(nuclei), numpy.array(corners)

    (mature, mature_corner), (blasts, blasts_corner) = areas(False), areas(True)

    assert mature.max() < blasts.min()
    assert mature_corner.min() < blasts_corner.max() and blasts_corner.min() < mature_corner.max()


@pytest.mark.parametrize(
    "place",
    ["Model/Data/0", "Model/Data/healthy", "Model/Data/fold_0/all", "Model/Data", "Model/Test", "Model/Test/deep"],
)
def test_real_images_stop_it(configuration, tmp_path, place):
    folder = tmp_path / place
    folder.mkdir(parents=True)
    (folder / "cell.PNG").write_bytes(smears.png(smears.cell(True, 1)))

    with pytest.raises(DataError, match=r"cell\.PNG") as caught:
        synthetic_smears.create_demo_dataset(configuration)
    assert caught.value.code == "synthetic_and_real"
    assert [path.name for path in tmp_path.rglob("*.*")] == ["cell.PNG"]


@pytest.mark.parametrize("name", ["Data/Captured", "Data/Inbox", "Data/Inbox/2026", "Data/1/Inbox", "Test/Inbox"])
def test_captured_images_do_not_stop_it(configuration, tmp_path, name):
    smears.capture(tmp_path / "Model" / name)

    assert synthetic_smears.create_demo_dataset(configuration) == 0


def test_remove_takes_nothing_else(configuration, tmp_path):
    synthetic_smears.create_demo_dataset(configuration)
    other = tmp_path / "Model/Data/1/mine.jpg"
    PIL.Image.new("RGB", (9, 9)).save(other)

    assert synthetic_smears.remove_demo_dataset(configuration) == 0

    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock"] == [other]


def test_the_script_draws_and_removes(configuration, tmp_path, capsys):
    options = ["--set", f"NetworkPath={tmp_path}"]

    assert Data.main(["Demo", *options]) == 0
    assert "Next: python3 Data.py" in capsys.readouterr().out
    assert len(content(tmp_path)) == 10

    assert Data.main(["Demo", "--remove", *options]) == 0
    assert not content(tmp_path)


def test_remove_needs_demo(capsys):
    with pytest.raises(SystemExit) as caught:
        Data.main(["--remove"])
    assert caught.value.code == 2
    assert "--remove" in capsys.readouterr().err
