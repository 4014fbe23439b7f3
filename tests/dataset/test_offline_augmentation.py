"""Data.py Augment: which views there are, of what, and that they stay out of validation."""

import collections
import shutil
import signal
import subprocess
import sys

import numpy
import PIL.Image
import pytest

import Data as Script
from Classes import Data, Helpers
from Classes.common.errors import DataError
from Classes.dataset import grouping, offline_augmentation
from Classes.imaging import color_stats
from tests.support import smears, waiting
from tests.support.folders import configuration, manifest, put, sides


@pytest.fixture
def folder(tmp_path):
    """Six images per class, 80 pixels wide."""
    for positive in (0, 1):
        for number in range(6):
            content = smears.png(smears.cell(positive, number))
            put(tmp_path, f"Data/{positive}/Toy{number:03d}_{positive}.png", content=content)
    return tmp_path


def small(folder, *settings):
    return configuration(folder, "ImageSize=75", *settings)


def files(folder):
    """{class/file: bytes} of the data folder's images."""
    found = sorted((folder / "Model/Data").glob("[01]/*"))
    return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in found}


def views(folder):
    return {name: content for name, content in files(folder).items() if grouping.is_augmented_view(name)}


def image(side=75):
    """No symmetry: a ramp with a red corner."""
    ramp = numpy.linspace(40, 200, side * side).reshape(side, side)
    pixels = numpy.stack([ramp, ramp[::-1], ramp.T], 2).astype("uint8")
    pixels[:20, :20] = (250, 10, 10)
    return pixels


def test_there_are_27_views():
    kinds = collections.Counter(name.split("_")[0] for name in grouping.AUGMENTATIONS)

    assert len(grouping.AUGMENTATIONS) == len(set(grouping.AUGMENTATIONS)) == 27
    assert kinds == {
        "gray": 1, "equalised": 1, "mirrored": 2, "blurred": 1, "shifted": 1, "sheared": 1, "rotated": 20,
    }  # fmt: skip


def test_the_plain_views_are_what_they_say():
    pixels = image()

    def view(name):
        return offline_augmentation.render_view(pixels, name, 1, (1, 2, 3))

    numpy.testing.assert_array_equal(view("resized"), pixels)
    numpy.testing.assert_array_equal(view("mirrored_horizontally"), pixels[:, ::-1])
    numpy.testing.assert_array_equal(view("mirrored_vertically"), pixels[::-1])
    gray = view("gray")
    assert (gray == gray[..., :1]).all()
    expected = numpy.rint(pixels @ numpy.array([0.299, 0.587, 0.114]))
    assert numpy.abs(gray[..., 0] - expected).max() <= 1
    assert numpy.abs(numpy.diff(view("blurred").astype(int), axis=0)).max() < numpy.ptp(pixels[18:22, 5, 0])


def test_an_equalised_view_uses_the_whole_range_and_keeps_the_hue():
    faint = (110 + image() // 8).astype("uint8")

    equalised = offline_augmentation.render_view(faint, "equalised", 1, (0, 0, 0))

    assert numpy.ptp(faint @ [0.299, 0.587, 0.114]) < 40
    assert numpy.ptp(equalised @ numpy.array([0.299, 0.587, 0.114])) > 200


def test_what_a_move_uncovers_has_the_background_color():
    fill = (9, 250, 77)
    for name in ("shifted", "sheared", "rotated_05"):
        view = offline_augmentation.render_view(numpy.full((75, 75, 3), 128, "uint8"), name, 3, fill)
        uncovered = (view == fill).all(2)
        assert 0.01 < uncovered.mean() < 0.4, name
        # Bicubic: at the border nothing between, away from it nothing else.
        assert ((view == 128).all(2) | uncovered).mean() > 0.9


def test_a_shift_is_a_shift():
    pixels = numpy.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype="uint8")
    soft = numpy.asarray(PIL.Image.fromarray(pixels).resize((25, 25)).resize((100, 100)))

    view = offline_augmentation.render_view(soft, "shifted", 5, (0, 0, 0))

    # Phase correlation finds where the picture went.
    spectrum = numpy.fft.fft2(view.mean(2)) * numpy.conj(numpy.fft.fft2(soft.mean(2)))
    peak = numpy.unravel_index(numpy.fft.ifft2(spectrum / numpy.abs(spectrum)).real.argmax(), (100, 100))
    assert all(3 <= min(place, 100 - place) <= 13 for place in peak)


def test_the_twenty_rotations_are_twenty_angles():
    angles = []
    for seed in range(5):
        for number in range(1, 21):
            matrix = offline_augmentation.affine_matrix(
                "rotated", f"{number:02d}", numpy.random.default_rng([seed, number])
            )
            numpy.testing.assert_allclose(matrix[:, :2] @ matrix[:, :2].T, numpy.eye(2), atol=1e-12)
            angles.append(numpy.degrees(numpy.arctan2(matrix[0, 1], matrix[0, 0])) % 360)
    angles = numpy.array(angles).reshape(5, 20)

    gaps = numpy.diff(numpy.sort(angles), axis=1)
    assert gaps.min() > 3
    assert angles.min() > 5
    assert angles.max() < 355
    assert len(numpy.unique(angles.round(3))) == 100, "every original has angles of its own"


def test_views_of_training_originals_only(folder):
    before = files(folder)

    assert offline_augmentation.augment_dataset(small(folder)) == 0
    made = views(folder)
    assert Data.prepare_dataset(small(folder)) == 0

    assert {name: content for name, content in files(folder).items() if name in before} == before
    found = sides(folder)
    originals = {name: side for name, side in found.items() if not grouping.is_augmented_view(name)}
    assert set(originals) == set(before)
    counts = collections.Counter(f"{name[0]}/{grouping.base_stem(name.split('/')[1])}.png" for name in made)
    assert counts == {name: 27 for name, side in originals.items() if side == "train"}
    assert {found[name] for name in made} == {"train"}
    assert manifest(folder)["unused_views"] == []
    with PIL.Image.open(folder / "Model/Data" / next(iter(made))) as view:
        assert (view.format, view.size, view.mode) == ("JPEG", (75, 75), "RGB")


@pytest.mark.slow
def test_the_split_is_the_same_with_and_without_views(folder):
    Data.prepare_dataset(small(folder))
    before = sides(folder)
    offline_augmentation.augment_dataset(small(folder))
    Data.prepare_dataset(small(folder))

    after = sides(folder)

    assert before == {name: after[name] for name in before}
    assert len(after) > len(before)


def test_views_never_enter_validation_whatever_changes(folder):
    offline_augmentation.augment_dataset(small(folder))
    for settings in ("RandomSeed=1", "RandomSeed=2", "ValidationSize=0.5"):
        Data.prepare_dataset(small(folder, settings))

        found = sides(folder)
        assert not [name for name, side in found.items() if side == "validation" and grouping.is_augmented_view(name)]
        unused = manifest(folder)["unused_views"]
        assert {f"{name.rpartition('__')[0]}.png" for name in unused} <= {
            name for name, side in found.items() if side == "validation"
        }
        assert unused


@pytest.mark.slow
def test_a_new_split_takes_its_views_back(folder):
    offline_augmentation.augment_dataset(small(folder))
    offline_augmentation.augment_dataset(small(folder, "RandomSeed=1"))
    fresh = views(folder)
    for name in fresh:
        (folder / "Model/Data" / name).unlink()

    offline_augmentation.augment_dataset(small(folder, "RandomSeed=1"))

    assert views(folder) == fresh


@pytest.mark.slow
def test_a_file_of_the_users_own_is_never_taken_back(folder):
    mine = put(folder, "Data/1/Toy000_1__blurred.jpg", content=smears.png(smears.cell(True, 77)))
    for seed in range(6):
        offline_augmentation.augment_dataset(small(folder, f"RandomSeed={seed}"))
        if sides_of(folder, f"RandomSeed={seed}")["1/Toy000_1.png"] == "validation":
            break
        mine.write_bytes(smears.png(smears.cell(True, 77)))
    else:
        pytest.fail("no seed put the original into validation")

    assert mine.read_bytes() == smears.png(smears.cell(True, 77))


def sides_of(folder, setting):
    Data.prepare_dataset(small(folder, setting))
    return sides(folder)


@pytest.mark.slow
def test_neither_order_nor_workers_nor_place_decide(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "moved"
    shutil.copytree(folder, elsewhere)
    offline_augmentation.augment_dataset(small(folder, "Workers=1"))
    (elsewhere / "Model/Data/0/Toy005_0.png").rename(elsewhere / "Model/Data/0/AAA005_0.png")
    (elsewhere / "Model/Data/0/AAA005_0.png").rename(elsewhere / "Model/Data/0/Toy005_0.png")

    offline_augmentation.augment_dataset(small(elsewhere, "Workers=4"))

    assert views(folder) == views(elsewhere)
    assert len(set(views(folder).values())) == len(views(folder)), "two views are one and the same"


def test_a_second_run_changes_nothing(folder, caplog):
    caplog.set_level("INFO")
    offline_augmentation.augment_dataset(small(folder))
    before = {path: path.stat().st_mtime_ns for path in (folder / "Model/Data").glob("[01]/*")}

    offline_augmentation.augment_dataset(small(folder))

    assert before == {path: path.stat().st_mtime_ns for path in (folder / "Model/Data").glob("[01]/*")}
    assert ", 0 were written." in caplog.text


def test_a_changed_original_has_its_views_made_again(folder):
    offline_augmentation.augment_dataset(small(folder))
    before = views(folder)
    name = next(iter(before)).rpartition("__")[0]
    (folder / f"Model/Data/{name}.png").write_bytes(smears.png(smears.cell(False, 555)))

    offline_augmentation.augment_dataset(small(folder))

    changed = {each for each, content in views(folder).items() if before.get(each) != content}
    assert changed == {each for each in before if each.startswith(f"{name}__")}


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["folders", "flat"])
def test_originals_in_a_folder_of_their_own(folder, tmp_path_factory, layout):
    source = tmp_path_factory.mktemp("originals")
    for path in sorted((folder / "Model/Data").glob("[01]/*.png")):
        inside = source / path.parent.name if layout == "folders" else source
        inside.mkdir(exist_ok=True)
        shutil.copy(path, inside)
    shutil.rmtree(folder / "Model/Data")
    put(folder, "Test/Toy005_1.png", content=smears.png(smears.cell(True, 5)))
    before = {path: path.read_bytes() for path in source.rglob("*.png")}

    assert offline_augmentation.augment_dataset(small(folder), source) == 0
    assert Data.prepare_dataset(small(folder)) == 0

    assert before == {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
    found = sides(folder)
    plain = {name: side for name, side in found.items() if name.endswith("__resized.jpg")}
    assert len(plain) == 11, "all but the test image"
    assert not [name for name in files(folder) if "Toy005_1" in name]
    assert set(plain.values()) == {"train", "validation"}
    trained = sum(side == "train" for side in plain.values())
    assert collections.Counter(found.values()) == {"train": 28 * trained, "validation": 11 - trained}


def test_patients_come_along(folder, tmp_path_factory):
    source = tmp_path_factory.mktemp("originals") / "all"
    shutil.copytree(folder / "Model/Data", source)
    shutil.rmtree(folder / "Model/Data")
    rows = [f"{label}/Toy{number:03d}_{label}.png,{label}{number // 2}" for label in "01" for number in range(6)]
    (source / "groups.csv").write_text("\n".join(["file,patient", *rows]))

    offline_augmentation.augment_dataset(small(folder), source)
    Data.prepare_dataset(small(folder))

    groups = {row["file"]: row["group"] for rows in manifest(folder)["splits"].values() for row in rows}
    assert {groups[f"0/Toy00{number}_0__resized.jpg"] for number in (2, 3)} == {"patient 01"}
    assert all(group.startswith("patient ") for group in groups.values())

    (source / "groups.csv").write_text("file,patient\n0/Toy000_0.png,9\n")
    with pytest.raises(DataError) as caught:
        offline_augmentation.augment_dataset(small(folder), source)
    assert caught.value.code == "two_tables"


def test_the_data_folder_itself_by_name(folder):
    offline_augmentation.augment_dataset(small(folder))
    before = files(folder)

    offline_augmentation.augment_dataset(small(folder), folder / "Model" / "Test" / ".." / "Data")

    assert files(folder) == before


def test_an_unreadable_original_is_left_out(folder, caplog):
    put(folder, "Data/0/broken_0.png", content=b"no image")

    assert offline_augmentation.augment_dataset(small(folder)) == 0
    assert offline_augmentation.augment_dataset(small(folder), strict=True) == 1

    assert not [name for name in views(folder) if "broken" in name]
    assert "1 source images could not be read" in caplog.text


@pytest.mark.parametrize(
    ("name", "code"),
    [("Data/0/Toy001_0.jpg", "same_stem"), ("Other/image_7.png", "no_class_in_name")],
)
def test_source_images_with_one_stem_or_without_class(folder, name, code):
    path = put(folder, name, content=smears.png(smears.cell(False, 99)))
    source = path.parent if name.startswith("Other") else None
    with pytest.raises(DataError) as caught:
        offline_augmentation.augment_dataset(small(folder), source)
    assert caught.value.code == code


def test_views_without_originals(folder):
    for path in (folder / "Model/Data/0").iterdir():
        path.rename(path.with_name(f"{path.stem}__gray.png"))
    with pytest.raises(DataError) as caught:
        offline_augmentation.augment_dataset(small(folder))
    assert caught.value.code == "only_views"
    with pytest.raises(DataError) as caught:
        Data.prepare_dataset(small(folder))
    assert caught.value.code == "class_without_images"


@pytest.mark.slow
def test_a_killed_run_leaves_no_half_file(folder):
    """Killed without a chance to tidy up, the next run finishes what it began."""
    command = [sys.executable, Script.__file__, "Augment"]
    for setting in (f"NetworkPath={folder}", "ImageSize=299", "Workers=1"):
        command += ["--set", setting]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        waiting.until(lambda: list(folder.glob("Model/Data/[01]/[!.]*__*")), ended=lambda: process.poll() is not None)
        process.send_signal(signal.SIGKILL)
    survived = views(folder)
    for name in survived:
        with PIL.Image.open(folder / "Model/Data" / name) as image:
            image.load()
    (folder / "Model/Data/0/.Toy000_0__gray.jpg.0123456789ab.tmp").write_bytes(b"half")

    offline_augmentation.augment_dataset(Helpers.load_config(None, [f"NetworkPath={folder}"]))

    assert survived.items() <= views(folder).items()
    assert not list(folder.rglob("*.tmp"))


def test_the_script(folder, capsys):
    with pytest.raises(SystemExit):
        Script.main(["Demo", "somewhere"])
    assert "FOLDER" in capsys.readouterr().err

    assert Script.main(["Augment", "--set", f"NetworkPath={folder}", "--set", "ImageSize=75"]) == 0

    assert views(folder)


@pytest.mark.parametrize("color", [(240, 226, 218), (181, 190, 210), (255, 255, 255), (0, 0, 0)])
def test_the_background_is_found_under_cells_and_noise(color):
    generator = numpy.random.default_rng(1)
    pixels = numpy.array(color) + generator.normal(0, 3, (120, 90, 3))
    pixels[:70] = numpy.array(color) * 0.6  # more than half of the image are cells
    pixels[80:84, :5] = 255

    found = color_stats.background_color(pixels.clip(0, 255).astype("uint8"))

    assert numpy.abs(numpy.array(found) - color).max() <= 4
