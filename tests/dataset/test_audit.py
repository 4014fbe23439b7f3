"""Data.py Check finds every planted problem and no other, and the page shows it."""

import functools
import html.parser
import io
import json

import numpy
import PIL.Image
import pytest
import tifffile

import Data as Script
from Classes import Data
from Classes.dataset import audit, audit_problems, leakage_probe, synthetic_smears
from Classes.dataset.offline_augmentation import render_view
from tests.support import smears
from tests.support.folders import configuration, put

COUNT = 22


@pytest.fixture
def folder(tmp_path):
    """Drawn smears: enough of them for the probe, with enough detail to be known by."""
    for label in (0, 1):
        for number in range(COUNT):
            put(tmp_path, f"Data/{label}/Cell{number:03d}_{label}.png", content=png(label, number))
    for number in range(3):
        place(tmp_path, f"Test/Unknown{number}_1.png", cell(1, 100 + number))
    return tmp_path


@functools.cache
def cell(label, number):
    return synthetic_smears.draw_smear(bool(label), [label, number])


@functools.cache
def png(label, number):
    return smears.png(cell(label, number))


def place(folder, name, pixels):
    return put(folder, name, content=smears.png(numpy.ascontiguousarray(pixels)))


def check(folder, *settings, strict=False):
    """(exit code, findings of Data.json, text of the page)."""
    code = audit.audit_dataset(configuration(folder, *settings), strict)
    report = folder / "Model/Report"
    return code, json.loads((report / "Data.json").read_text()), (report / "Data.html").read_text()


def titles(findings):
    return [problem["title"] for problem in findings["problems"]]


@pytest.mark.slow
def test_a_clean_folder_has_no_findings(folder):
    before = {path: path.read_bytes() for path in (folder / "Model").rglob("*") if path.is_file()}

    code, findings, page = check(folder, strict=True)

    assert code == 0
    assert findings["problems"] == []
    assert (findings["images"], findings["tests"]) == (2 * COUNT, 3)
    assert findings["classes"]["1"] == {"images": COUNT, "originals": COUNT, "groups": COUNT, "splits": {}}
    assert findings["sizes"] == {"300x300": 2 * COUNT}
    assert (findings["modes"], findings["formats"]) == ({"RGB": 2 * COUNT}, {"png": 2 * COUNT})
    assert findings["exact"] == findings["alike"] == findings["odd_sizes"] == findings["odd_modes"] == []
    assert "No problems were found." in page
    after = {path: path.read_bytes() for path in (folder / "Model").rglob("*") if path.is_file()}
    assert {path: after[path] for path in before} == before
    assert {path.name for path in set(after) - set(before)} == {".lock", "Data.html", "Data.json"}


@pytest.mark.slow
def test_colors_are_those_of_the_images(folder):
    _, findings, _ = check(folder)

    for label in (0, 1):
        means = numpy.stack([cell(label, number) for number in range(COUNT)]).mean(axis=(1, 2))
        low, middle, high = numpy.quantile(means[:, 0], [0.05, 0.5, 0.95])
        found = findings["colours"][str(label)]["mean red"]
        # Of the small picture, whose last rows and columns stand for a part of what the others stand for.
        numpy.testing.assert_allclose(found, [low, middle, high], atol=0.25)


COPIES = {
    "mirrored": lambda pixels: pixels[:, ::-1],
    "turned": lambda pixels: numpy.rot90(pixels, 3),
    "by an angle": lambda pixels: render_view(pixels, "rotated_05", 1, (240, 226, 218)),
    "smaller": lambda pixels: numpy.asarray(PIL.Image.fromarray(pixels).resize((260, 260))),
}


@pytest.mark.slow
@pytest.mark.parametrize("change", COPIES)
def test_a_planted_copy_is_found(folder, change):
    place(folder, "Data/1/other.png", COPIES[change](cell(1, 7)))

    _, findings, page = check(folder)

    (pair,) = findings["alike"]
    assert set(pair.pop("files")) == {"1/Cell007_1.png", "1/other.png"}
    assert pair.pop("similarity") > 0.9
    assert not any(pair.values())
    assert titles(findings) == ["Near duplicates"]
    assert page.count("<figcaption>1/other.png<br>") == 1


@pytest.mark.slow
def test_copies_in_two_splits_classes_or_test_images(folder):
    Data.prepare_dataset(configuration(folder))
    splits = json.loads((folder / "Model/Data/ALL_manifest.json").read_text())["splits"]
    train, validation = (
        next(row["file"] for row in splits[side] if row["class"] == "0") for side in ("train", "validation")
    )
    # Written after the split, so that the files of the manifest no longer show what they did.
    with PIL.Image.open(folder / "Model/Data" / validation) as image:
        place(folder, f"Data/{train}", numpy.asarray(image)[::-1])
    place(folder, "Data/0/wrong.png", cell(1, 2)[:, ::-1])
    place(folder, "Data/0/same.png", cell(1, 3))
    place(folder, "Data/1/seen.png", numpy.rot90(cell(1, 100)))

    code, findings, page = check(folder, strict=True)

    assert code == 1
    assert titles(findings) == [
        "Leak between the splits", "Leak into the test images", "One image in several classes", "Exact duplicates",
    ]  # fmt: skip
    crossed = {
        frozenset(pair["files"]): [key for key, value in pair.items() if value is True]
        for pair in findings["alike"] + findings["exact"]
    }
    assert crossed == {
        frozenset({train, validation}): ["across_splits"],
        frozenset({"0/wrong.png", "1/Cell002_1.png"}): ["across_classes"],
        frozenset({"0/same.png", "1/Cell003_1.png"}): ["across_classes"],
        frozenset({"1/seen.png", "Test/Unknown0_1.png"}): ["across_test"],
    }
    assert page.count('class="tag"') == 4


def test_views_of_an_original_are_no_finding(folder):
    place(folder, "Data/1/Cell001_1__rotated_03.png", render_view(cell(1, 1), "rotated_03", 1, (240, 226, 218)))
    place(folder, "Data/1/Cell001_1__resized.png", cell(1, 1)[1:-1, 1:-1])

    _, findings, _ = check(folder)

    assert findings["problems"] == []
    assert (findings["classes"]["1"]["images"], findings["classes"]["1"]["originals"]) == (COUNT + 2, COUNT + 1)


def test_unusual_sizes_and_modes(folder):
    place(folder, "Data/0/small_0.png", PIL.Image.fromarray(cell(0, 50)).resize((100, 100)))
    place(folder, "Data/0/long_0.png", cell(0, 51)[:120])
    PIL.Image.fromarray(cell(0, 52)).convert("L").save(folder / "Model/Data/0/gray.png")
    (folder / "Model/Data/0/broken_0.png").write_bytes(smears.png(cell(0, 53))[:900])
    (folder / "Model/Data/0/notes.txt").write_text("no image")

    code, findings, page = check(folder)

    assert code == 0
    odd = {row["file"]: row["reasons"] for row in findings["odd_sizes"]}
    assert odd == {
        "0/small_0.png": ["smaller", "upscaled for the network"],
        "0/long_0.png": ["smaller", "other aspect ratio", "upscaled for the network"],
    }
    assert findings["odd_modes"] == [{"file": "0/gray.png", "mode": "L"}]
    assert [row["file"] for row in findings["unreadable"]] == ["0/broken_0.png"]
    assert findings["ignored"] == ["0/notes.txt"]
    assert titles(findings) == ["Unreadable", "Unusual sizes", "Unusual modes"]
    assert "notes.txt" in page


def test_an_unbalanced_folder(folder):
    for number in range(12):
        (folder / f"Model/Data/0/Cell{number:03d}_0.png").unlink()

    _, findings, _ = check(folder)

    assert titles(findings) == ["Class imbalance"]
    assert "has 10 source images, the largest 22" in findings["problems"][0]["text"]
    assert "needs 20 source images" in findings["probes"]["background colour"]["note"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plant", "kind"),
    [
        (lambda pixels, path: PIL.Image.fromarray((pixels * 0.85).astype("uint8")).save(path), "background colour"),
        (lambda pixels, path: PIL.Image.fromarray(pixels[4:-4, 4:-4]).save(path), "image size"),
        (lambda pixels, path: PIL.Image.fromarray(pixels).save(path, dpi=(96, 96)), "file format and metadata"),
        (lambda pixels, path: PIL.Image.fromarray(pixels).save(path, "JPEG", quality=98), "file format and metadata"),
    ],
)
def test_a_planted_leak_is_found(folder, plant, kind):
    for number in range(COUNT):
        plant(cell(1, number), folder / f"Model/Data/1/Cell{number:03d}_1.png")

    _, findings, _ = check(folder)

    assert titles(findings) == ["Possible dataset bias"]
    assert audit_problems.PROBE_NAMES[kind] in findings["problems"][0]["text"]
    assert leakage_probe.lowest(findings["probes"][kind]) > 0.8
    others = {name for name, probe in findings["probes"].items() if probe["auc"] > 0.75} - {"bytes per pixel"}
    assert others == {kind}


class _Links(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.links = [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href", "action")]


def test_the_page_carries_all_it_shows_and_trusts_no_name(folder):
    place(folder, 'Data/1/<script>alert("x")<_1.png', cell(1, 60))
    place(folder, "Data/1/same & same_1.png", cell(1, 60))

    _, findings, page = check(folder)

    links = _Links()
    links.feed(page)
    pictures = [link for link in links.links if not link.startswith("#")]
    assert all(link.startswith("data:image/jpeg;base64,") for link in pictures)
    assert links.tags.count("script") == 1, "that of the page"
    assert "<script>alert" not in page
    assert "url(" not in page
    assert "same &amp; same_1.png" in page
    assert findings["notice"] in page
    assert links.tags.count("img") == len(pictures) == 12 + 2


def test_a_damaged_manifest_is_no_obstacle(folder):
    (folder / "Model/Data/ALL_manifest.json").write_text('{"splits": 3}')

    assert check(folder)[1]["classes"]["0"]["splits"] == {}


def test_the_script(folder):
    place(folder, "Data/1/other.png", cell(1, 7)[::-1])
    arguments = ["Check", "--set", f"NetworkPath={folder}", "--set", "ReportDir=Elsewhere"]

    assert Script.main(arguments) == 0
    assert Script.main([*arguments, "--strict"]) == 1

    assert (folder / "Elsewhere/Data.html").exists()


@pytest.mark.slow
def test_real_cells(shared, tmp_path):
    (tmp_path / "Model").mkdir()
    (tmp_path / "Model/Data").symlink_to(shared / "data/pbc")
    setting = configuration(tmp_path, "TestImagePath=Model/Data/Test", "CaptureDir=Model/Data/Test")

    audit.audit_dataset(setting)

    findings = json.loads((tmp_path / "Model/Report/Data.json").read_text())
    assert (findings["images"], findings["tests"]) == (600, 20)
    assert findings["problems"] == []


def test_a_folder_of_which_nothing_can_be_read_has_a_report(tmp_path):
    for label in (0, 1):
        put(tmp_path, f"Data/{label}/x_{label}.jpg", content=b"\xff\xd8\xff broken")
    put(tmp_path, "Data/0/blank_0.png", content=smears.png(numpy.full((90, 90, 3), 200, "uint8")))

    code, found, page = check(tmp_path, strict=True)

    assert code == 1
    assert sorted(row["file"] for row in found["unreadable"]) == ["0/blank_0.png", "0/x_0.jpg", "1/x_1.jpg"]
    assert "0/x_0.jpg" in page


def test_a_resolution_of_nothing_by_nothing_has_a_report(folder):
    file = io.BytesIO()
    tifffile.imwrite(file, cell(0, 0), photometric="rgb", resolution=(72, 72))
    data = file.getvalue()
    with tifffile.TiffFile(io.BytesIO(data)) as written:
        places = [written.pages[0].tags[code].valueoffset for code in (282, 283)]
    for place in places:
        data = data[:place] + bytes(8) + data[place + 8 :]
    (folder / "Model/Data/0/Cell000_0.png").write_bytes(data)

    _, found, _ = check(folder)

    assert found["formats"] == {"png": 2 * COUNT - 1, "tiff": 1}
    assert found["probes"]["file format and metadata"]["auc"] is not None


@pytest.mark.slow
def test_an_audit_states_its_images_and_its_split(tmp_path):
    smears.fill(tmp_path, per_class=20, test=2)
    before = check(tmp_path)[1]
    Data.prepare_dataset(configuration(tmp_path))
    values = json.loads((tmp_path / "Model/Data/ALL_manifest.json").read_text())

    after = check(tmp_path)[1]
    smears.capture(tmp_path / "Model/Data/Inbox")
    with_captured = check(tmp_path)[1]
    put(tmp_path, "Data/1/another_1.png", content=smears.png(smears.cell(True, 99)))
    grown = check(tmp_path)[1]

    assert (before["manifest_sha256"], after["manifest_sha256"]) == (None, values["content_sha256"])
    assert {each["images_sha256"] for each in (before, after, with_captured)} == {values["images_sha256"]}
    assert grown["images_sha256"] != after["images_sha256"]
    assert before["created"] <= after["created"]


def test_without_its_page_an_audit_does_not_count_as_done(folder):
    # As after a kill between the two files: the next run must audit again, not take the findings for complete.
    put(folder, "Report/Data.html/mine", content=b"")

    with pytest.raises(OSError, match=r"Data\.html"):
        check(folder)

    assert audit.read_audit(configuration(folder)) is None
