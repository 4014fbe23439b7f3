"""Slides and large photographs, read in parts."""

import numpy
import PIL.Image
import pytest
import tifffile

from Classes.common.errors import ImageError
from Classes.imaging import decode, slide_reader

# Everything has more pixels than this, so nothing is decoded at once.
SMALL = decode.DecodeLimits(max_pixels=1000, max_side=20_000)


@pytest.fixture(scope="module")
def picture():
    rows, columns = numpy.mgrid[:311, :417]
    return numpy.stack([rows % 256, columns % 256, (rows + columns) % 256], axis=-1).astype("uint8")


def check_parts(path, expected):
    with slide_reader.open_slide(path, SMALL) as slide:
        assert (slide.width, slide.height) == (417, 311)
        for x, y, width, height in ((300, 200, 100, 90), (0, 0, 417, 311), (17, 130, 64, 3)):
            assert numpy.array_equal(slide.read(x, y, width, height), expected[y : y + height, x : x + width])
        outside = slide.read(400, -5, 30, 10)
    assert numpy.array_equal(outside[5:, :17], expected[:5, 400:])
    assert (outside[:5] == 255).all() and (outside[:, 17:] == 255).all()


@pytest.mark.parametrize("options", [{"tile": (64, 48)}, {"rowsperstrip": 7}])
def test_tiff_is_read_by_tiles_and_strips(tmp_path, picture, options):
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, picture, photometric="rgb", compression="lzw", **options)
    check_parts(path, picture)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_png_is_read_by_strips_in_any_order(tmp_path, picture, mode, monkeypatch):
    from Classes.imaging import slide_photograph

    monkeypatch.setattr(slide_photograph, "STRIP_BYTES", 50_000)
    path = tmp_path / "large.png"
    image = PIL.Image.fromarray(picture).convert(mode)
    image.save(path)
    check_parts(path, numpy.asarray(image.convert("RGB")))


def test_jpeg_is_read_as_pillow_decodes_it(tmp_path, picture):
    path = tmp_path / "large.jpg"
    PIL.Image.fromarray(picture).save(path, quality=90)
    check_parts(path, numpy.asarray(PIL.Image.open(path)))


def test_pyramid_has_levels(tmp_path, picture):
    path = tmp_path / "slide.tif"
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(picture, tile=(64, 64), photometric="rgb")
        tiff.write(picture[::4, ::4], tile=(64, 64), photometric="rgb", subfiletype=1)
    with slide_reader.open_slide(path, SMALL) as slide:
        assert [(level.width, level.height) for level in slide.levels] == [(417, 311), (105, 78)]
        assert numpy.array_equal(slide.read(5, 6, 20, 10, 1), picture[::4, ::4][6:16, 5:25])


def test_tiles_that_were_not_written_are_glass(tmp_path, picture):
    path = tmp_path / "sparse.tif"
    tifffile.imwrite(path, picture[:64, :128], tile=(64, 64), photometric="rgb")
    with tifffile.TiffFile(path, mode="r+") as tiff:
        for name in ("TileOffsets", "TileByteCounts"):
            tag = tiff.pages[0].tags[name]
            tag.overwrite((0, *tag.value[1:]))
    with slide_reader.open_slide(path, SMALL) as slide:
        found = slide.read(0, 0, 128, 64)
    assert (found[:, :64] == 255).all()
    assert numpy.array_equal(found[:, 64:], picture[:64, 64:128])


def test_a_tile_that_is_larger_than_its_place_is_damaged(tmp_path, picture):
    path = tmp_path / "slide.tif"
    tifffile.imwrite(path, picture, photometric="rgb", tile=(64, 64), compression="jpeg")
    with tifffile.TiffFile(path) as tiff:
        offset = tiff.pages[0].dataoffsets[0]
    content = bytearray(path.read_bytes())
    # The frame header of the first tile: its height and width follow the precision.
    place = content.index(b"\xff\xc0", offset) + 5
    content[place : place + 4] = (60_000).to_bytes(2, "big") * 2
    path.write_bytes(content)
    with slide_reader.open_slide(path, SMALL) as slide:
        slide.read(64, 0, 64, 64)
        with pytest.raises(ImageError) as caught:
            slide.read(0, 0, 10, 10)
    assert caught.value.code == "damaged_slide"


def code_of(path):
    with pytest.raises(ImageError) as caught, slide_reader.open_slide(path, SMALL) as slide:
        slide.read(0, 0, slide.width, slide.height)
    return caught.value.code


def test_files_without_an_answer_say_what_they_are(tmp_path, picture):
    image = PIL.Image.fromarray(picture)
    image.save(tmp_path / "progressive.jpg", progressive=True)
    image.convert("P").save(tmp_path / "palette.png")
    image.save(tmp_path / "large.bmp")
    (tmp_path / "slide.mrxs").write_bytes(b"\xff\xd8\xff\xe0" + b"0" * 100)
    (tmp_path / "notes.txt").write_text("These are notes.")
    (tmp_path / "empty.svs").touch()
    tifffile.imwrite(tmp_path / "deep.tif", picture.astype("uint16"), photometric="rgb", rowsperstrip=8)
    tifffile.imwrite(tmp_path / "whole.tif", picture, photometric="rgb", tile=(64, 64))
    (tmp_path / "cut.tif").write_bytes((tmp_path / "whole.tif").read_bytes()[:200_000])
    image.save(tmp_path / "whole.png")
    content = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    assert {path.name: code_of(path) for path in sorted(tmp_path.iterdir()) if not path.name.startswith("whole")} == {
        "cut.png": "damaged_slide",
        "cut.tif": "damaged_slide",
        "deep.tif": "unsupported_slide",
        "empty.svs": "empty_file",
        "large.bmp": "not_readable_in_parts",
        "notes.txt": "unknown_slide_format",
        "palette.png": "not_readable_in_parts",
        "progressive.jpg": "not_readable_in_parts",
        "slide.mrxs": "companion_missing",
    }


def test_missing_library_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openslide", None)
    (tmp_path / "slide.svs").write_bytes(b"II*\0" + b"0" * 100)
    with pytest.raises(ImageError, match=r"pip install -r Required/requirements-slides\.txt") as caught:
        slide_reader.open_slide(tmp_path / "slide.svs")
    assert caught.value.code == "openslide_missing"


def test_openslide_reads_a_scan(tmp_path, picture):
    pytest.importorskip("openslide")
    path = tmp_path / "scan.svs"
    # What makes a tiled TIFF an Aperio slide is its description.
    text = "Aperio Image Library v1.0\n417x311 (64x64)|AppMag = 40|MPP = 0.2500"
    tifffile.imwrite(path, picture, photometric="rgb", tile=(64, 64), description=text, metadata=None)
    with slide_reader.open_slide(path) as slide:
        assert slide.microns == 0.25 and slide.kind == "Aperio SVS"
        assert numpy.array_equal(slide.read(300, 200, 100, 90), picture[200:290, 300:400])
    path.write_bytes(b"II*\0" + b"0" * 100)
    assert code_of(path) == "unknown_slide_format"
