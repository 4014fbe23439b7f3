"""One picture under several names: found however it was turned, and nothing else is."""

import io

import numpy
import PIL.Image
import pytest

from Classes import Data
from Classes.common.errors import DataError
from Classes.dataset import grouping, pair_search, perceptual_hash, synthetic_smears
from Classes.dataset.offline_augmentation import render_view
from Classes.imaging import color_stats, decode
from tests.support import smears
from tests.support.folders import configuration, manifest, put, sides


@pytest.fixture(scope="module")
def drawn():
    return [synthetic_smears.draw_smear(bool(number % 2), number) for number in range(30)]


def prints(images):
    return numpy.stack([perceptual_hash.descriptor(image) for image in images])


def saved_again(image, quality=40):
    file = io.BytesIO()
    PIL.Image.fromarray(image).save(file, "JPEG", quality=quality)
    return decode.decode_image(file.getvalue())


def resized(image, size):
    return numpy.asarray(PIL.Image.fromarray(image).resize(size, PIL.Image.Resampling.BICUBIC))


CHANGES = {
    "saved again": saved_again,
    "mirrored": lambda image: image[:, ::-1],
    "upside down": lambda image: image[::-1],
    "turned": lambda image: numpy.rot90(image),
    "turned and mirrored": lambda image: numpy.rot90(image, 3)[:, ::-1],
    "half as large": lambda image: resized(image, (150, 150)),
    "larger": lambda image: resized(image, (777, 777)),
    "darker": lambda image: (image * 0.7).astype("uint8"),
    "gray": lambda image: render_view(image, "gray", 1, (0, 0, 0)),
    "blurred": lambda image: render_view(image, "blurred", 1, (0, 0, 0)),
    "by an angle": lambda image: render_view(image, "rotated_02", 5, color_stats.background_color(image)),
    "mirrored, by an angle, saved": lambda image: saved_again(
        render_view(image[::-1].copy(), "rotated_15", 6, color_stats.background_color(image))
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_the_same_picture_and_no_other_is(drawn, change):
    copies = [numpy.ascontiguousarray(CHANGES[change](image)) for image in drawn]

    found = perceptual_hash.matching_pairs(prints(drawn), prints(copies))

    assert [(one, other) for one, other, _ in found] == [(number, number) for number in range(len(drawn))]


def test_unlike_pictures_are_far_from_the_limit(drawn):
    found = perceptual_hash.matching_pairs(prints(drawn), same=0.6)

    assert found == []


def test_the_bound_never_hides_a_pair(monkeypatch):
    generator = numpy.random.default_rng(3)
    images = [smears.cell(number % 2, number, 64) for number in range(25)]
    images += [numpy.rot90(images[number], generator.integers(4)) for number in range(5)]
    fingerprints = prints([numpy.ascontiguousarray(image) for image in images])
    expected = []
    for one in range(30):
        for other in range(one + 1, 30):
            alike = float(perceptual_hash.similarity(fingerprints[one : one + 1], fingerprints[other : other + 1])[0])
            if alike >= 0.5:
                expected.append((one, other, alike))
    monkeypatch.setattr(pair_search, "BLOCK", 7)

    found = perceptual_hash.matching_pairs(fingerprints, same=0.5)

    assert [each[:2] for each in found] == [each[:2] for each in expected]
    numpy.testing.assert_allclose([each[2] for each in found], [each[2] for each in expected], atol=1e-6)
    assert {(number, 25 + number) for number in range(5)} <= {each[:2] for each in found}


def test_the_similarity_is_that_of_the_plain_sum(drawn):
    one, other = prints(drawn[:2])

    rings = numpy.zeros((2, perceptual_hash.RINGS, perceptual_hash.ANGLES + 1), "complex128")
    rings[:, :, 1 : perceptual_hash.HARMONICS + 1] = [each[0] + 1j * each[1] for each in (one, other)]
    first, second = numpy.fft.irfft(rings, 2 * perceptual_hash.ANGLES, axis=2)
    turns = [(first * numpy.roll(each, turn, 1)).sum() for turn in range(128) for each in (second, second[:, ::-1])]
    lengths = numpy.linalg.norm(first) * numpy.linalg.norm(second)
    assert perceptual_hash.similarity(one[None], other[None])[0] == pytest.approx(max(turns) / lengths, abs=1e-3)


def test_enough_pairs_connect_all_copies_of_a_picture(drawn, monkeypatch):
    monkeypatch.setattr(pair_search, "BLOCK", 5)
    copies = [drawn[number % 3] if turn < 10 else drawn[number] for turn in range(14) for number in range(3, 9)]
    fingerprints = prints(copies)

    every = perceptual_hash.matching_pairs(fingerprints)
    enough = perceptual_hash.matching_pairs(fingerprints, enough=True)

    def companies(pairs):
        joined = grouping.merge_groups({str(one), str(other)} for one, other, _ in pairs)
        return {frozenset(name for name in joined if joined[name] == first) for first in joined.values()}

    assert companies(enough) == companies(every)
    assert len(enough) == len(copies) - len(companies(every)) < len(every)


@pytest.mark.parametrize("shape", [(1, 1), (31, 400), (96, 96), (40, 900)])
def test_no_picture_is_like_nothing(shape):
    flat = prints([numpy.full((*shape, 3), 200, "uint8")] * 2)

    assert not flat.any()
    assert perceptual_hash.matching_pairs(flat) == []
    assert perceptual_hash.matching_pairs([]) == []
    assert perceptual_hash.matching_pairs(flat, []) == []


def fill(folder, count=12):
    """Drawn smears, which have enough detail to be known by."""
    for label in (0, 1):
        for number in range(count):
            name = f"Data/{label}/Cell{number:03d}_{label}.png"
            put(folder, name, content=smears.png(synthetic_smears.draw_smear(bool(label), [label, number])))
    return folder


@pytest.mark.slow
def test_a_mirrored_copy_stays_on_the_side_of_its_original(tmp_path, caplog):
    fill(tmp_path)
    for number in range(12):
        copy = saved_again(synthetic_smears.draw_smear(True, [1, number])[:, ::-1], 80)
        put(tmp_path, f"Data/1/other{number}.png", content=smears.png(copy))

    Data.prepare_dataset(configuration(tmp_path))

    found = sides(tmp_path)
    for number in range(12):
        assert found[f"1/other{number}.png"] == found[f"1/Cell{number:03d}_1.png"]
    assert {found[f"1/other{number}.png"] for number in range(12)} == {"train", "validation"}
    alike = manifest(tmp_path)["alike"]
    assert len(alike) == 12
    assert all(pair["similarity"] > 0.9 for pair in alike)
    assert "12 pairs of images are near duplicates" in caplog.text


@pytest.mark.slow
def test_one_picture_in_two_classes_is_left_out(tmp_path):
    fill(tmp_path)
    put(tmp_path, "Data/0/wrong.png", content=smears.png(numpy.rot90(synthetic_smears.draw_smear(True, [1, 3])).copy()))
    put(tmp_path, "Data/1/again.png", content=smears.png(saved_again(synthetic_smears.draw_smear(True, [1, 3]))))
    put(tmp_path, "Data/1/Cell003_1__gray.jpg", content=smears.png(synthetic_smears.draw_smear(True, [1, 3])))

    Data.prepare_dataset(configuration(tmp_path))

    files = {"0/wrong.png", "1/Cell003_1.png", "1/again.png", "1/Cell003_1__gray.jpg"}
    assert not files & set(sides(tmp_path))
    (conflict,) = manifest(tmp_path)["contradictions"]
    assert (set(conflict["files"]), conflict["classes"]) == (files, ["0", "1"])


@pytest.mark.slow
def test_a_turned_copy_of_a_test_image_is_held_out(tmp_path):
    fill(tmp_path)
    put(
        tmp_path,
        "Test/unknown_1.png",
        content=smears.png(render_view(synthetic_smears.draw_smear(True, [1, 4]), "rotated_07", 1, (240, 226, 218))),
    )
    put(tmp_path, "Test/notes.txt", content=b"no image")

    Data.prepare_dataset(configuration(tmp_path))

    assert [row["file"] for row in manifest(tmp_path)["held_out"]] == ["1/Cell004_1.png"]


@pytest.mark.slow
def test_a_leak_is_refused(tmp_path, monkeypatch):
    """If a picture were ever to fall on both sides, nothing would be written."""
    fill(tmp_path)
    put(tmp_path, "Data/1/other.png", content=smears.png(synthetic_smears.draw_smear(True, [1, 0])[:, ::-1].copy()))
    monkeypatch.setattr(grouping, "merge_groups", lambda companies: {name: name for each in companies for name in each})
    for seed in range(20):
        try:
            Data.prepare_dataset(configuration(tmp_path, f"RandomSeed={seed}"))
        except DataError as error:
            assert error.code == "split_overlap"
            assert not list(tmp_path.glob("Model/Data/*.tfrecord")) or seed
            return
    pytest.fail("the copies were on one side for twenty seeds")


@pytest.mark.slow
def test_a_view_that_is_named_after_another_picture_joins_both(tmp_path):
    fill(tmp_path)
    Data.prepare_dataset(configuration(tmp_path))
    found = sides(tmp_path)
    pictures = [number for number in range(12) if found[f"1/Cell{number:03d}_1.png"] == "validation"]
    original = next(number for number in range(12) if found[f"1/Cell{number:03d}_1.png"] == "train")
    view = smears.png(numpy.rot90(synthetic_smears.draw_smear(True, [1, pictures[0]])).copy())
    put(tmp_path, f"Data/1/Cell{original:03d}_1__gray.jpg", content=view)

    Data.prepare_dataset(configuration(tmp_path))

    found = sides(tmp_path)
    assert found[f"1/Cell{pictures[0]:03d}_1.png"] == found[f"1/Cell{original:03d}_1.png"]
    assert found.get(f"1/Cell{original:03d}_1__gray.jpg", "train") == "train"


@pytest.mark.slow
def test_real_cells(shared):
    cells = sorted(shared.glob("data/pbc/*/*.jpg"))
    images = [decode.decode_image(path, at_least=64) for path in cells]

    assert perceptual_hash.matching_pairs(prints(images), same=0.6) == []
    some = images[::20]
    copies = [
        render_view(resized(saved_again(image), (299, 299)), "rotated_11", 1, color_stats.background_color(image))
        for image in some
    ]
    found = perceptual_hash.matching_pairs(prints(some), prints(copies))
    assert [(one, other) for one, other, _ in found] == [(number, number) for number in range(len(some))]
