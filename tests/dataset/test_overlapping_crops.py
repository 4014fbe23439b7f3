"""Shifted and overlapping crops of one picture: found, and no two different cells are taken for one."""

import io

import numpy
import PIL.Image
import pytest

from Classes import Data
from Classes.dataset import (
    audit,
    audit_problems,
    crop_descriptors,
    discovery,
    overlapping_crops,
    pair_search,
    perceptual_hash,
    synthetic_smears,
)
from Classes.dataset.decoding import Decoding
from Classes.imaging import decode
from tests.support import smears
from tests.support.folders import configuration, manifest, put, sides

# A crop of a larger picture, whose middle then lies off the cell: x, y of the upper left corner, side.
PLACES = {"left": (10, 22, 250), "right": (42, 30, 250), "smaller": (20, 20, 225)}


@pytest.fixture(scope="module")
def drawn():
    return [synthetic_smears.draw_smear(bool(number % 2), [7, number]) for number in range(25)]


def crop(image, place, turn=0.0, mirrored=False, side=220, quality=60):
    """A crop that was turned by degrees around its middle and saved as JPEG."""
    left, top, width = PLACES[place]
    picture = PIL.Image.fromarray(image[:, ::-1].copy() if mirrored else image)
    middle = left + width / 2, top + width / 2
    picture = picture.rotate(turn, PIL.Image.Resampling.BICUBIC, center=middle, fillcolor=(240, 226, 218))
    picture = picture.crop((left, top, left + width, top + width)).resize((side, side), PIL.Image.Resampling.BICUBIC)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return numpy.asarray(PIL.Image.open(file))


def found(ones, others):
    """{(index, index)} of the pairs that are taken for crops of one picture."""
    pairs = crop_descriptors.candidates(
        [crop_descriptors.describe(each) for each in ones], [crop_descriptors.describe(each) for each in others]
    )
    pairs = [(ones[one], others[other], (one, other)) for one, other in pairs]
    return {
        places
        for one, other, places in pairs
        if not overlapping_crops.is_round(one)
        and not overlapping_crops.is_round(other)
        and overlapping_crops.correlation(one, other) >= overlapping_crops.SAME
    }


@pytest.mark.parametrize(("turn", "mirrored"), [(0, False), (90, False), (200, True)])
def test_crops_of_one_picture_are_found_and_no_others(drawn, turn, mirrored):
    ones = [crop(image, "left") for image in drawn]
    others = [crop(image, "right", turn, mirrored) for image in drawn]

    pairs = found(ones, others)

    assert all(one == other for one, other in pairs)
    assert len(pairs) >= 0.8 * len(drawn)


def test_a_crop_at_another_magnification_is_found(drawn):
    ones = [crop(image, "left") for image in drawn[:15]]
    pairs = found(ones, [crop(image, "smaller", 30) for image in drawn[:15]])
    assert len(pairs) >= 12
    assert all(one == other for one, other in pairs)


def test_the_fingerprint_alone_misses_them(drawn):
    ones, others = ([crop(image, place) for image in drawn] for place in ("left", "right"))
    prints = [[perceptual_hash.descriptor(each) for each in images] for images in (ones, others)]
    assert len(perceptual_hash.matching_pairs(*prints)) < 0.1 * len(drawn)


def test_the_bound_hides_no_pair(drawn, monkeypatch):
    descriptors = [crop_descriptors.describe(crop(image, place)) for image in drawn[:12] for place in ("left", "right")]
    monkeypatch.setattr(crop_descriptors, "CANDIDATE", 0.45)
    expected = set()
    for one, first in enumerate(descriptors):
        for other in range(one + 1, len(descriptors)):
            pairs = [(a, b) for a in first for b in descriptors[other]]
            alike = perceptual_hash.similarity(*(numpy.stack(each) for each in zip(*pairs, strict=True)))
            expected |= {(one, other)} if alike.max() >= 0.45 else set()
    monkeypatch.setattr(pair_search, "BLOCK", 7)

    assert set(crop_descriptors.candidates(descriptors)) == expected
    assert len(expected) > 12


def test_cells_on_black_are_not_taken_for_one():
    images = []
    for number in range(30):
        image = synthetic_smears.draw_smear(True, [3, number]).copy()
        rows, columns = numpy.mgrid[:300, :300]
        image[(rows - 150) ** 2 + (columns - 150) ** 2 > 80**2] = 0
        images.append(image)
    assert {(one, other) for one, other in found(images, images) if one != other} == set()


def test_round_cells_without_texture_are_not_taken_for_one():
    images = [smears.cell(True, number, size) for number in range(12) for size in (80, 160)]
    assert {(one, other) for one, other in found(images, images) if one != other} == set()


@pytest.mark.parametrize("shape", [(1, 1), (31, 400), (96, 96), (40, 900)])
def test_no_picture_is_like_nothing(shape):
    flat = [numpy.full((*shape, 3), level, "uint8") for level in (0, 200, 255)]
    assert found(flat, flat) == set()
    assert crop_descriptors.candidates([]) == []
    assert all(overlapping_crops.correlation(image, image) == 0 for image in flat)


def fill(folder, drawn):
    for number, image in enumerate(drawn[:24]):
        put(folder, f"Data/{number % 2}/Cell{number:03d}.png", content=smears.png(crop(image, "left")))
    return folder


def test_overlapping_crops_are_kept_in_one_split_and_out_of_training_with_a_test_image(tmp_path, drawn):
    fill(tmp_path, drawn)
    # Another class does not matter: two crops of one slide may show different cells in their middles.
    for number in range(8):
        put(tmp_path, f"Data/{1 - number % 2}/other{number}.png", content=smears.png(crop(drawn[number], "right", 90)))
    put(tmp_path, "Test/unknown.png", content=smears.png(crop(drawn[20], "right", 180)))

    Data.prepare_dataset(configuration(tmp_path))

    split, alike = sides(tmp_path), manifest(tmp_path)["alike"]
    joined = {frozenset(pair["files"]) for pair in alike if pair.get("crops")}
    expected = {frozenset({f"{n % 2}/Cell{n:03d}.png", f"{1 - n % 2}/other{n}.png"}) for n in range(8)}
    assert joined <= expected and len(joined) >= 6
    assert all(len({split[file] for file in files}) == 1 for files in joined)
    assert [row["file"] for row in manifest(tmp_path)["held_out"]] == ["0/Cell020.png"]
    assert manifest(tmp_path)["contradictions"] == []


def test_the_audit_shows_them_and_says_what_it_misses(tmp_path, drawn):
    fill(tmp_path, drawn)
    put(tmp_path, "Data/1/other.png", content=smears.png(crop(drawn[4], "right", 90)))
    put(tmp_path, "Test/unknown.png", content=smears.png(crop(drawn[20], "right", 180)))

    findings = audit.summarize(configuration(tmp_path), *audited(tmp_path))

    pairs = {frozenset(pair["files"]): pair for pair in findings["crops"]}
    assert set(pairs) == {frozenset({"0/Cell004.png", "1/other.png"}), frozenset({"0/Cell020.png", "Test/unknown.png"})}
    assert [pair["across_test"] for pair in pairs.values()].count(True) == 1
    titles = [
        problem["title"]
        for problem in audit_problems.list_problems(configuration(tmp_path), {**findings, "unreadable": []})
    ]
    assert "Leak into the test images" in titles and "One picture in several classes" not in titles
    assert findings["not_found"]


def audited(folder):
    files, _ = discovery.find_class_images(configuration(folder))
    decoding = Decoding(configuration(folder), audit=True)
    return audit.scan_images(configuration(folder), files, None, decoding)[0], decoding.store


@pytest.mark.slow
def test_real_cells(shared):
    images = [decode.decode_image(path) for path in sorted(shared.glob("data/pbc/*/*.jpg"))]
    windows = [numpy.ascontiguousarray(image[40:320, 40:320]) for image in images]
    descriptors = [crop_descriptors.describe(image) for image in windows]
    strangers = [
        pair
        for pair in crop_descriptors.candidates(descriptors)
        if overlapping_crops.correlation(*(windows[i] for i in pair)) >= overlapping_crops.SAME
    ]
    assert strangers == []

    some = images[::8]
    # Moved by a twentieth of the side, both ways, and mirrored.
    moved = [numpy.ascontiguousarray(image[50:330, 50:330][:, ::-1]) for image in some]
    assert len(found([windows[number] for number in range(0, len(images), 8)], moved)) >= 0.85 * len(some)
