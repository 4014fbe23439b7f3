"""The one decoder: every kind of image comes out right, every broken one as ImageError."""

import concurrent.futures
import io
import os
import struct
import warnings
import zlib

import numpy
import PIL.Image
import PIL.TiffImagePlugin
import pytest

from Classes.common.errors import ImageError, ImageSizeError, UnsupportedImageError
from Classes.imaging import decode, file_kinds, network_input
from tests.support import smears
from tests.support.encoded_images import PATCH, encoded, flat, noise, smooth


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats_come_out_as_they_went_in(kind):
    image = noise(5, 7)

    loaded = decode.decode_image(encoded(image, kind))

    assert loaded.dtype == numpy.uint8
    numpy.testing.assert_array_equal(loaded, image)


@pytest.mark.parametrize(("kind", "expected"), [("JPEG", "jpg"), ("GIF", "gif"), ("WEBP", "webp"), ("PNG", "png")])
def test_type_is_told_by_content_never_by_name(tmp_path, kind, expected):
    path = tmp_path / "cell.bmp"
    path.write_bytes(encoded(flat(), kind))

    assert numpy.abs(decode.decode_image(path).astype(int) - PATCH).max() <= 3
    assert decode.decode_image(str(path)).shape == (6, 8, 3)
    assert decode.decode_thumbnail(path, 64)[0] == decode.ImageInfo(expected, 8, 6)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (flat("L", 77), (77, 77, 77)),
        (flat("1", 1), (255, 255, 255)),
        # Transparent all over: the picture is what was meant.
        (flat("LA", (100, 0)), (100, 100, 100)),
        (flat("RGBA", (*PATCH, 1)), PATCH),
        (flat("LA", (100, 255)), (100, 100, 100)),
        (flat("RGBA", (*PATCH, 255)), PATCH),
        (flat("RGBA", (*PATCH, 0)), PATCH),
        # Half of (0, 100, 200) on white: 0.502 * value + 0.498 * 255.
        (flat("RGBA", (0, 100, 200, 128)), (127, 177, 227)),
        (flat().convert("P", palette=PIL.Image.Palette.ADAPTIVE), PATCH),
    ],
)
def test_modes(image, expected):
    assert tuple(decode.decode_image(encoded(image, "PNG"))[0, 0].tolist()) == expected


def test_palette_with_a_transparent_entry_is_laid_on_white():
    image = flat("P", 1)
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((7, 5), 0)

    assert decode.decode_image(encoded(image, "PNG", transparency=1))[0, 0].tolist() == [255, 255, 255]
    assert decode.decode_image(encoded(image, "PNG", transparency=0))[0, 0].tolist() == [40, 50, 60]


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk(kind):
    # No cyan, half magenta, full yellow, no black: (255, 127, 0). Pillow writes Adobe's inverted values to JPEG.
    loaded = decode.decode_image(encoded(flat("CMYK", (0, 128, 255, 0), (32, 32)), kind, quality=100))

    assert numpy.abs(loaded[16, 16].astype(int) - (255, 127, 0)).max() <= 3


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 257, 32896, 65535], [0, 1, 128, 255]),  # 16 bits: value / 257
        ([0, 0, 0, 0], [0, 0, 0, 0]),
    ],
)
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_by_their_range(values, expected, kind):
    image = numpy.array([values], "uint16")

    loaded = decode.decode_image(encoded(image, kind))

    assert loaded[0, :, 0].tolist() == expected
    assert (loaded == loaded[..., :1]).all()


def test_big_endian_sixteen_bits():
    image = PIL.Image.frombytes("I;16B", (2, 1), struct.pack(">HH", 257, 32896))

    assert decode.decode_image(encoded(image, "TIFF"))[0, :, 0].tolist() == [1, 128]


@pytest.mark.parametrize("value", [numpy.nan, numpy.inf])
def test_pixels_that_are_no_numbers(tmp_path, value):
    path = tmp_path / "nan.tif"
    path.write_bytes(encoded(numpy.full((2, 2), value, "float32"), "TIFF"))

    with pytest.raises(ImageError, match=r"nan\.tif") as caught:
        decode.decode_image(path)
    assert caught.value.code == "not_finite"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_orientation(orientation, kind):
    upright = noise(4, 6)
    # How a camera that was held that way stores what it sees; the inverse of what a viewer does.
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.swapaxes(0, 1), 6: numpy.rot90(upright, 1),
        7: upright[::-1, ::-1].swapaxes(0, 1), 8: numpy.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = PIL.Image.Exif()
    exif[274] = orientation

    loaded = decode.decode_image(encoded(numpy.ascontiguousarray(stored), kind, exif=exif))

    numpy.testing.assert_array_equal(loaded, upright)


def test_sixteen_bits_are_turned_too():
    exif = PIL.Image.Exif()
    exif[274] = 3

    assert decode.decode_image(encoded(numpy.array([[0, 65535]], "uint16"), "PNG", exif=exif))[0, :, 0].tolist() == [
        255,
        0,
    ]


def test_broken_camera_notes_do_not_cost_the_image():
    image = smooth(16, 16)
    exif = b"Exif\x00\x00II*\x00\xff\xff\xff\xff" + b"\xff" * 40

    loaded = decode.decode_image(encoded(image, "JPEG", exif=exif, quality=95))

    assert numpy.abs(loaded.astype(int) - image).mean() < 10


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_first_frame_only(kind):
    frames = [flat(color=(250, 250, 250)), flat(color=(0, 0, 0))]

    loaded = decode.decode_image(encoded(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True))

    assert loaded.shape == (6, 8, 3)
    assert loaded.min() >= 248


def png_header(width, height):
    """A PNG that claims a size and holds next to nothing."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("size", "setting"),
    [
        ((60_000, 1), "MaxSide"),
        ((1, 20_001), "MaxSide"),
        ((7_000, 7_000), "MaxPixels"),
        ((10_000, 10_000), "MaxPixels"),  # Pillow only warns
        ((60_000, 60_000), "MaxPixels"),  # Pillow refuses by itself
    ],
)
def test_limits_are_checked_against_the_header(size, setting):
    with pytest.raises(ImageSizeError, match=setting):
        decode.decode_image(png_header(*size))


def test_limits_of_the_configuration():
    data = encoded(flat(size=(10, 10)), "PNG")

    assert decode.decode_image(data, decode.DecodeLimits(max_pixels=100, max_side=10)).shape == (10, 10, 3)
    with pytest.raises(ImageSizeError, match="MaxPixels"):
        decode.decode_image(data, decode.DecodeLimits(max_pixels=99))
    with pytest.raises(ImageSizeError, match="MaxSide"):
        network_input.InputSpec(4).decode_and_resize(data, decode.DecodeLimits(max_side=9))


def test_jpeg_of_endless_scans():
    data = encoded(smooth(64, 64), "JPEG", progressive=True)
    assert decode.decode_image(data).shape == (64, 64, 3)
    scan = data[data.rindex(b"\xff\xda") : -2]

    with pytest.raises(ImageError) as caught:
        decode.decode_image(data[:-2] + 200 * scan + data[-2:])
    assert caught.value.code == "damaged_image"


@pytest.mark.parametrize(
    "data",
    [
        b"<html>502 Bad Gateway</html>", b"PK\x03\x04" + bytes(60), b"\0\5" * 50, bytes(1000),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"\xff\xd8\xff", b"GIF89a", b"RIFF\4\0\0\0WEBP", b"BM",
        b"\x89PNG\r\n\x1a\n",
    ],
)  # fmt: skip
def test_what_is_no_image(data):
    with pytest.raises(ImageError, match=r"^the image: "):
        decode.decode_image(data)


def test_encapsulated_postscript_is_never_interpreted():
    with pytest.raises(UnsupportedImageError) as caught:
        decode.decode_image(encoded(flat(), "EPS"))
    assert caught.value.code == "not_an_image"


def test_messages_name_the_file(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "cut.png").write_bytes(encoded(noise(50, 50), "PNG")[:2000])
    os.mkfifo(tmp_path / "pipe.png")

    for name in ("empty.png", "missing.png", ".", "cut.png", "pipe.png", "a\0b.png"):
        with pytest.raises(ImageError) as caught:
            decode.decode_image(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: ")
        assert caught.value.code == ("empty_file" if name == "empty.png" else "damaged_image")
    with pytest.raises(ImageError, match=r"^scan 7: ") as caught:
        decode.decode_image(b"", name="scan 7")
    assert caught.value.code == "empty_file"


SEEDS = {
    "jpeg": lambda: encoded(smooth(40, 40), "JPEG"),
    "progressive": lambda: encoded(smooth(40, 40), "JPEG", progressive=True, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0"),
    "cmyk": lambda: encoded(flat("CMYK", (9, 8, 7, 6), (40, 40)), "JPEG"),
    "png": lambda: encoded(noise(20, 20), "PNG"),
    "palette": lambda: encoded(PIL.Image.fromarray(noise(20, 20)).quantize(16), "PNG", transparency=3),
    "sixteen": lambda: encoded(numpy.arange(400, dtype="uint16").reshape(20, 20) * 99, "PNG"),
    "gif": lambda: encoded(noise(20, 20), "GIF"),
    "bmp": lambda: encoded(noise(20, 20), "BMP"),
    "tiff": lambda: encoded(noise(20, 20), "TIFF"),
    "deflate": lambda: encoded(noise(20, 20), "TIFF", compression="tiff_adobe_deflate"),
    "float": lambda: encoded(noise(20, 20)[..., 0].astype("float32"), "TIFF"),
    "webp": lambda: encoded(noise(20, 20), "WEBP"),
    "ppm": lambda: encoded(noise(20, 20), "PPM"),
}


@pytest.mark.parametrize("kind", SEEDS)
def test_damaged_bytes_give_an_image_or_an_image_error(kind):
    good = SEEDS[kind]()
    generator = numpy.random.default_rng(7)
    cases = [good[:end] for end in range(1, len(good), max(len(good) // 40, 1))]
    for _ in range(120):
        broken = bytearray(good)
        for _ in range(generator.integers(1, 6)):
            broken[generator.integers(0, min(len(broken), 400))] = generator.integers(0, 256)
        cases.append(bytes(broken))

    limits = decode.DecodeLimits(max_pixels=100_000)
    outcomes = set()
    for data in cases:
        try:
            image = decode.decode_image(data, limits, at_least=9)
        except ImageError:
            outcomes.add("error")
        else:
            assert image.dtype == numpy.uint8
            assert image.ndim == 3 and image.shape[2] == 3
            outcomes.add("image")
        # The check of Data.py must not pass what the decoder then refuses.
        try:
            decode.decode_thumbnail(data, 64, limits)
        except ImageError:
            with pytest.raises(ImageError):
                decode.decode_image(data, limits)
    assert outcomes == {"error", "image"} or outcomes == {"error"}


@pytest.mark.parametrize(("side", "shape"), [(125, 125), (128, 64), (256, 64), (512, 64), (1000, 125)])
def test_large_jpegs_are_decoded_at_a_reduced_scale(side, shape):
    data = encoded(smooth(side, side), "JPEG", quality=92)

    # At least twice the 32 pixels that are needed are left.
    assert decode.decode_image(data, at_least=32).shape == (shape, shape, 3)
    assert decode.decode_image(data).shape == (side, side, 3)


def test_reduced_scale_with_orientation_and_for_other_formats():
    exif = PIL.Image.Exif()
    exif[274] = 6

    assert decode.decode_image(encoded(smooth(600, 900), "JPEG", exif=exif), at_least=100).shape == (450, 300, 3)
    assert decode.decode_image(encoded(smooth(600, 900), "PNG"), at_least=100).shape == (600, 900, 3)


def test_threads_agree_and_leave_the_warnings_as_they_were():
    # A PNG that Pillow warns about (an APNG chunk of no frames), among others.
    png = encoded(noise(64, 64), "PNG")
    data = b"acTL" + bytes(8)
    chunk = struct.pack(">I", 8) + data + struct.pack(">I", zlib.crc32(data))
    odd = png[:33] + chunk + png[33:]
    with pytest.warns(UserWarning, match="APNG"):
        PIL.Image.open(io.BytesIO(odd)).load()
    sources = [odd, png, encoded(smooth(64, 64), "JPEG")] * 40
    expected = [decode.decode_image(source) for source in sources[:3]]
    before = list(warnings.filters)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        loaded = list(pool.map(decode.decode_image, sources))

    for number, image in enumerate(loaded):
        numpy.testing.assert_array_equal(image, expected[number % 3])
    assert list(warnings.filters) == before


@pytest.mark.parametrize(
    ("size", "shape"), [((360, 363), (182, 180, 3)), ((500, 256), (128, 250, 3)), ((20, 255), (255, 20, 3))]
)
def test_a_glance_keeps_a_small_picture_of_the_whole(size, shape):
    image = numpy.full((size[1], size[0], 3), 50, "uint8")
    image[: size[1] // 2] = 200

    facts, small = decode.decode_thumbnail(smears.png(image), 128)

    assert (facts.width, facts.height) == size
    assert small.shape == shape
    assert small[0].tolist() == [[200] * 3] * shape[1]
    assert small[-1].tolist() == [[50] * 3] * shape[1]


def test_a_glance_stands_upright_and_knows_every_mode(tmp_path):
    from PIL import Image

    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (600, 300), (10, 200, 90)).save(path, exif=exif)
    assert decode.decode_thumbnail(path, 100)[1].shape == (200, 100, 3)
    for mode in ("1", "P", "LA", "RGBA", "CMYK", "I;16"):
        path = tmp_path / f"image.{'tif' if mode in ('CMYK', 'I;16') else 'png'}"
        Image.new(mode, (300, 300)).save(path)
        assert decode.decode_thumbnail(path, 100)[1].shape == (100, 100, 3), mode


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("at_least", [None, 40])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_without_its_end_mark_is_whole_and_one_that_is_cut_is_not(mode, at_least, progressive):
    data = encoded(PIL.Image.fromarray(smooth(200, 170)).convert(mode), "JPEG", quality=90, progressive=progressive)
    expected = decode.decode_image(data, at_least=at_least)

    for end in (-2, -1):
        numpy.testing.assert_array_equal(decode.decode_image(data[:end], at_least=at_least), expected)
    for end in (-8, -40, -len(data) // 2):
        with pytest.raises(ImageError):
            decode.decode_image(data[:end], at_least=at_least)
    if progressive:
        # All but the last scan is a picture too, of less detail.
        with pytest.raises(ImageError):
            decode.decode_image(data[: data.rindex(b"\xff\xda")], at_least=at_least)


def text_kinds():
    return {
        "HTML": b"<!DOCTYPE html><html>", "JSON": b'{"code": "x"}', "SVG": b"<svg xmlns='x'/>",
        "XML": b"<?xml version='1'?><a/>",
        "data: URI": b"data:image/png;base64,iVBORw0KGgo", "base64 text": b"/9j/4AAQSkZJRgABAQAAAQABAAD/2wBD",
        "multipart form data": b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\n',
        "Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "text": b"not found\n",
        "PDF": b"%PDF-1.7\n", "gzip": b"\x1f\x8b\x08\0", "ZIP": b"PK\x03\x04" + bytes(30), "only zero bytes": bytes(99),
        "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "AVIF": b"\0\0\0\x1cftypavif\0\0\0\0mif1avif",
        "video": b"\0\0\0\x18ftypisom\0\0\0\0mp42", "JPEG XL": b"\xff\x0a\0\0", "JPEG 2000": b"\xff\x4f\xff\x51",
        "DICOM": bytes(128) + b"DICM",
    }  # fmt: skip


@pytest.mark.parametrize("kind", text_kinds())
def test_an_error_names_what_a_file_is_instead(kind):
    data = text_kinds()[kind]

    assert file_kinds.identify(data)[0] == kind
    with pytest.raises(UnsupportedImageError) as caught:
        decode.decode_image(data)
    assert kind in str(caught.value)
