"""TIFFs as microscopes and their programs write them: the right page, the right depth, or the reason."""

import contextlib
import io
import struct

import numpy
import PIL.Image
import pytest
import tifffile

from Classes.common.errors import ImageError, ImageSizeError
from Classes.imaging import decode

RGB8 = numpy.random.default_rng(4).integers(0, 256, (40, 48, 3), dtype="uint8")
# Every 8-bit value as the value of 12 and 16 bits that is rounded to it.
RGB12 = numpy.rint(RGB8 * (4095 / 255)).astype("uint16")
RGB16 = RGB8.astype("uint16") * 257


def tiff(image, **options):
    file = io.BytesIO()
    options = {"photometric": "rgb" if image.shape[-1] in (3, 4) else "minisblack", "metadata": None} | options
    tifffile.imwrite(file, image, **options)
    return file.getvalue()


def pages(*images, **options):
    """Pages of one file: (image, options) each."""
    file = io.BytesIO()
    with tifffile.TiffWriter(file, **options) as writer:
        for image, each in images:
            photometric = "rgb" if image.ndim == 3 else "minisblack"
            writer.write(image, **{"photometric": photometric, "metadata": None} | each)
    return file.getvalue()


def code(data, **limits):
    with pytest.raises(ImageError) as caught:
        decode.decode_image(data, decode.DecodeLimits(**limits))
    return caught.value.code


def same(data, expected=RGB8, **limits):
    numpy.testing.assert_array_equal(decode.decode_image(data, decode.DecodeLimits(**limits)), expected)


GRAY = numpy.repeat(RGB8[..., :1], 3, 2)


@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "packbits", "lzma", "zstd"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("image", [RGB8, RGB16], ids=["8", "16"])
def test_every_layout_of_colors(compression, planar, image):
    stored = image if planar == "contig" else numpy.moveaxis(image, 2, 0)
    for byteorder in "<>":
        for options in ({}, {"tile": (16, 32)}, {"rowsperstrip": 7}):
            same(
                tiff(
                    stored,
                    planarconfig=planar,
                    photometric="rgb",
                    compression=compression,
                    byteorder=byteorder,
                    **options,
                )
            )


@pytest.mark.parametrize("predictor", [True, False])
def test_predictors_and_big_tiff(predictor):
    same(tiff(RGB16, compression="zlib", predictor=predictor, bigtiff=True))


def test_webp_and_jpeg():
    smooth = numpy.asarray(PIL.Image.fromarray(RGB8).resize((8, 8)).resize((64, 64), PIL.Image.Resampling.BICUBIC))
    same(tiff(smooth, compression="webp", compressionargs={"level": 101}), smooth)
    for photometric in ("rgb", "ycbcr"):
        for tile in (None, (32, 32)):
            data = tiff(smooth, compression="jpeg", photometric=photometric, tile=tile, compressionargs={"level": 98})
            with PIL.Image.open(io.BytesIO(data)) as other:
                expected = numpy.asarray(other.convert("RGB")).astype(int)
            assert numpy.abs(decode.decode_image(data) - expected).max() <= 3


@pytest.mark.parametrize(
    "stated",
    [
        {"extratags": [(281, "H", 3, (4095,) * 3, True)]},
        {"extratags": [(341, "H", 3, (4095,) * 3, True)]},
        {"description": '{"BitDepth": 12, "Width": 48}'},
        {"description": "Camera\nBits per pixel = 12\n"},
        {"extratags": [(51123, "s", 0, '{"PixelType": "RGB", "BitDepth": 12}', True)]},
    ],
)
@pytest.mark.parametrize("image", [RGB12, RGB12[..., 0]], ids=["colour", "gray"])
def test_twelve_bits_that_the_file_states(stated, image):
    same(tiff(image, **stated), RGB8 if image.ndim == 3 else GRAY)
    # A dark image of the same camera stays dark.
    dark = decode.decode_image(tiff(image // 32, **stated))
    assert numpy.abs(dark - (RGB8 if image.ndim == 3 else GRAY) / 32).max() <= 1


def test_twelve_bits_stated_by_ome_and_imagej():
    file = io.BytesIO()
    tifffile.imwrite(file, RGB12[..., 0], ome=True, metadata={"axes": "YX", "SignificantBits": 12})
    same(file.getvalue(), GRAY)
    file = io.BytesIO()
    tifffile.imwrite(file, RGB12[..., 0], imagej=True, metadata={"min": 0.0, "max": 4095.0})
    same(file.getvalue(), GRAY)


@pytest.mark.parametrize("bits", [8, 9, 10, 12, 14])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_depth_that_nothing_states_is_refused_or_configured(bits, channels):
    image = numpy.rint(RGB8 * ((2**bits - 1) / 255)).astype("uint16")
    if channels == 1:
        image = image[..., 0]
    if channels == 4:
        image = numpy.dstack([image, numpy.full(image.shape[:2], 2**bits - 1, "uint16")])
    options = {"extrasamples": ["unassalpha"]} if channels == 4 else {}
    data = tiff(image, **options)

    assert code(data) == "unknown_bit_depth"
    same(data, GRAY if channels == 1 else RGB8, sample_bits=bits)


def test_one_pixel_decides_nothing():
    hot = RGB12[..., 0].copy()
    hot[3, 5] = 65535
    shown = decode.decode_image(tiff(hot), decode.DecodeLimits(sample_bits=12))
    assert code(tiff(hot)) == "unknown_bit_depth"
    expected = GRAY.copy()
    expected[3, 5] = 255
    numpy.testing.assert_array_equal(shown, expected)
    hot[3, 5] = 40000
    numpy.testing.assert_array_equal(decode.decode_image(tiff(hot), decode.DecodeLimits(sample_bits=12)), expected)


def test_the_configured_depth_leaves_other_files_as_they_are():
    same(tiff(RGB16), sample_bits=12)
    same(tiff(RGB8), sample_bits=12)
    same(tiff(RGB12, extratags=[(281, "H", 3, (4095,) * 3, True)]), sample_bits=14)
    # A camera of 10 bits among those of 12 would come out four times too dark.
    assert code(tiff(RGB12 // 4), sample_bits=12) == "unknown_bit_depth"


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_packed_bits(bits):
    image = numpy.rint(RGB8 * ((2**bits - 1) / 255)).astype("uint16")
    ones = image.reshape(40, -1, 1) >> numpy.arange(bits - 1, -1, -1) & 1
    rows = numpy.packbits(ones.reshape(40, -1).astype("uint8"), axis=1).tobytes()
    with_tags = tiff(RGB16)
    # The same header with fewer bits per sample and the packed rows in place of the pixels.
    with tifffile.TiffFile(io.BytesIO(with_tags)) as found:
        page = found.pages[0]
        bits_at, offset = page.tags[258].valueoffset, page.dataoffsets[0]
        count_at = page.tags[279].valueoffset
    data = bytearray(with_tags[:offset] + rows)
    data[bits_at : bits_at + 6] = struct.pack("<3H", bits, bits, bits)
    data[count_at : count_at + 4] = struct.pack("<I", len(rows))

    same(bytes(data))


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_one_bit(photometric):
    ink = RGB8[..., 0] > 128
    stored = ink if photometric == "minisblack" else ~ink
    same(tiff(stored, photometric=photometric), numpy.repeat(ink[..., None] * numpy.uint8(255), 3, 2))


def test_white_is_zero():
    same(tiff(255 - RGB8[..., 0], photometric="miniswhite"), GRAY)
    same(tiff(65535 - RGB16[..., 0], photometric="miniswhite"), GRAY)


def test_palette_cmyk_ycbcr_and_lab():
    table = numpy.random.default_rng(1).integers(0, 256, (3, 256)).astype("uint16")
    indices = RGB8[..., 0]
    same(tiff(indices, photometric="palette", colormap=table * 257), table.T[indices].astype("uint8"))
    picture = PIL.Image.fromarray(numpy.full((20, 20, 3), (200, 100, 50), "uint8"))
    inks = numpy.asarray(picture.convert("CMYK"))
    for image in (inks, inks.astype("uint16") * 257):
        assert decode.decode_image(tiff(image, photometric="separated"))[0, 0].tolist() == [200, 100, 50]
    assert (
        numpy.abs(decode.decode_image(encoded(picture.convert("YCbCr")))[0, 0].astype(int) - (200, 100, 50)).max() <= 2
    )
    # L* 53.24, a* 80.09, b* 67.20 is the red of sRGB; a and b are signed bytes.
    lab = numpy.full((9, 9, 3), (136, 80, 67), "uint8")
    assert numpy.abs(decode.decode_image(tiff(lab, photometric="cielab"))[0, 0].astype(int) - (255, 0, 0)).max() <= 12
    lab = numpy.full((9, 9, 3), (136, 208, 195), "uint8")
    assert numpy.abs(decode.decode_image(tiff(lab, photometric="icclab"))[0, 0].astype(int) - (255, 0, 0)).max() <= 12


def encoded(image):
    file = io.BytesIO()
    image.save(file, "TIFF")
    return file.getvalue()


def test_transparency():
    alpha = numpy.full((40, 48), 255, "uint8")
    alpha[:20] = 0
    for kind in ("unassalpha", "assocalpha"):
        shown = decode.decode_image(tiff(numpy.dstack([RGB8 * (alpha > 0)[..., None], alpha]), extrasamples=[kind]))
        assert (shown[:20] == 255).all()
        numpy.testing.assert_array_equal(shown[20:], RGB8[20:])
        same(tiff(numpy.dstack([RGB8, alpha * 0]), extrasamples=[kind]))
        same(tiff(numpy.dstack([RGB16, alpha.astype("uint16") * 0]), extrasamples=[kind]))


def test_floating_point():
    for kind in ("float16", "float32", "float64"):
        same(tiff((RGB8 / 255).astype(kind)))
    values = RGB8.astype("float32")
    assert code(tiff(values)) == "unknown_bit_depth"
    same(tiff(values), sample_bits=8)
    same(tiff(values, extratags=[(341, "f", 3, (255.0,) * 3, True)]))
    assert code(tiff(values / 128 - 1)) == "negative_samples"
    hot = (RGB8 / 255).astype("float32")
    hot[0, 0, 0] = 1000
    assert (decode.decode_image(tiff(hot))[1:] == RGB8[1:]).all()


def test_signed_and_wide_integers():
    assert code(tiff(RGB12.astype("int16") - 100)) == "negative_samples"
    assert code(tiff(RGB12.astype("int16"))) == "unknown_bit_depth"
    same(tiff(RGB12.astype("int16")), sample_bits=12)
    same(tiff(RGB8.astype("uint32") * (2**24 + 2**16 + 2**8 + 1)))
    assert code(tiff(RGB12.astype("uint32"))) == "unknown_bit_depth"
    same(tiff(RGB12.astype("int32")), sample_bits=12)
    assert code(tiff(RGB8.astype("int8"))) in ("negative_samples", "sample_format")
    assert code(tiff(RGB8.astype("complex64")[..., 0])) == "sample_format"


def test_a_preview_is_never_taken_for_the_photograph():
    small = RGB8[::4, ::4].copy()
    for one, two in (((small, {"subfiletype": 1}), (RGB8, {})), ((RGB8, {}), (small, {"subfiletype": 1}))):
        data = pages(one, two)
        same(data)
        assert (decode.read_header(data).width, decode.read_header(data).height) == (48, 40)
    same(pages((small, {"subfiletype": 1, "subifds": 1}), (RGB8, {})))
    # The only image of a file is it, whatever its mark.
    same(pages((RGB8, {"subfiletype": 1})))
    raw = RGB16[..., 0]
    assert code(pages((small, {"subfiletype": 1, "subifds": 1}), (raw, {"photometric": 32803}))) == "camera_raw"


def test_a_pyramid_without_marks_is_one_image_and_two_sizes_of_two_images_are_not():
    image = numpy.asarray(PIL.Image.fromarray(RGB8[:10, :12]).resize((96, 80), PIL.Image.Resampling.BICUBIC))
    half = numpy.asarray(PIL.Image.fromarray(image).resize((48, 40), PIL.Image.Resampling.BOX))

    same(pages((image, {}), (half, {})), image)
    same(pages((half, {}), (image, {})), image)
    assert code(pages((image, {}), (half[::-1].copy(), {}))) == "several_pages"


def test_stacks_are_refused():
    assert code(pages((RGB8, {}), (RGB8[::-1].copy(), {}))) == "several_pages"
    assert code(pages(*[(RGB8[..., 0], {})] * 100)) == "several_pages"
    file = io.BytesIO()
    tifffile.imwrite(file, numpy.stack([RGB8[..., 0]] * 5), imagej=True, metadata={"axes": "ZYX"})
    assert code(file.getvalue()) == "several_pages"
    assert code(tiff(numpy.dstack([RGB8, RGB8]), photometric="minisblack", planarconfig="contig")) == "several_channels"


def imagej(channels, **metadata):
    file = io.BytesIO()
    metadata = {"axes": "CYX", "mode": "composite"} | metadata
    tifffile.imwrite(file, numpy.moveaxis(channels, 2, 0), imagej=True, metadata=metadata)
    return file.getvalue()


def ome(channels, **channel):
    file = io.BytesIO()
    metadata = {"axes": "CYX", "Channel": channel} if channel else {"axes": "CYX"}
    tifffile.imwrite(file, numpy.moveaxis(channels, 2, 0), ome=True, photometric="minisblack", metadata=metadata)
    return file.getvalue()


def test_red_green_and_blue_as_pages():
    same(imagej(RGB8))
    same(imagej(RGB16))
    ramp, none = numpy.arange(256, dtype="uint8"), numpy.zeros(256, "uint8")
    tables = [numpy.stack([none, none, ramp]), numpy.stack([none, ramp, none]), numpy.stack([ramp, none, none])]
    same(imagej(RGB8[..., ::-1], LUTs=tables))
    assert code(imagej(RGB8, LUTs=[*tables[:2], numpy.stack([ramp, ramp, none])])) == "several_pages"
    assert code(imagej(RGB8, mode="grayscale")) == "several_pages"
    same(ome(RGB8, Name=["Red", "Green", "Blue"]))
    same(ome(RGB8[..., ::-1], Name=["blue", "green", "red"]))
    same(ome(RGB8[..., ::-1], Color=[65535, 16711935, -16776961]))
    assert code(ome(RGB8)) == "several_pages"
    assert code(ome(RGB8, Name=["DAPI", "FITC", "TRITC"])) == "several_pages"
    assert code(imagej(RGB12)) == "unknown_bit_depth"
    same(imagej(RGB12, min=0.0, max=4095.0))


@pytest.mark.parametrize("orientation", [3, 6])
def test_sixteen_bits_stand_upright(orientation):
    stored = {3: RGB16[::-1, ::-1], 6: numpy.rot90(RGB16, 1)}[orientation]

    same(tiff(numpy.ascontiguousarray(stored), extratags=[(274, "H", 1, orientation, True)]))


def patched(data, tag, value):
    """A TIFF with another number in a tag of its first page."""
    with tifffile.TiffFile(io.BytesIO(data)) as found:
        place = found.pages[0].tags[tag].valueoffset
    return data[:place] + struct.pack("<I", value) + data[place + 4 :]


def test_limits_are_held_before_anything_is_decoded():
    for tag in (256, 257):
        with pytest.raises(ImageSizeError):
            decode.decode_image(patched(tiff(RGB8), tag, 2**31 - 1))
    with pytest.raises(ImageSizeError):
        decode.decode_image(tiff(RGB8), decode.DecodeLimits(max_pixels=100))
    assert code(patched(tiff(RGB8, tile=(16, 16)), 322, 2**30)) == "damaged_image"


def test_a_list_where_a_number_belongs_is_refused_at_once():
    data = bytearray(tiff(RGB8, tile=(16, 16)) + bytes(4_000_000))
    with tifffile.TiffFile(io.BytesIO(data)) as found:
        entry = found.pages[0].tags[323].offset
    data[entry + 4 : entry + 12] = struct.pack("<II", 900_000, len(data) - 3_900_000)

    assert code(bytes(data)) == "damaged_image"


def test_a_strip_of_a_larger_jpeg_is_refused():
    jpeg = io.BytesIO()
    PIL.Image.new("L", (4000, 4000)).save(jpeg, "JPEG")
    data = tiff(RGB8[..., 0], compression="jpeg")
    with tifffile.TiffFile(io.BytesIO(data)) as found:
        offset, count = found.pages[0].tags[273].valueoffset, found.pages[0].tags[279].valueoffset
    data = bytearray(data + jpeg.getvalue())
    data[offset : offset + 4] = struct.pack("<I", len(data) - len(jpeg.getvalue()))
    data[count : count + 4] = struct.pack("<I", len(jpeg.getvalue()))

    assert code(bytes(data)) == "damaged_image"


def test_pages_in_a_circle_end():
    data = bytearray(tiff(RGB8))
    ifd = struct.unpack("<I", data[4:8])[0]
    entries = struct.unpack("<H", data[ifd : ifd + 2])[0]
    data[ifd + 2 + 12 * entries : ifd + 6 + 12 * entries] = struct.pack("<I", ifd)

    # It ends at once, with the image or an error.
    with contextlib.suppress(ImageError):
        same(bytes(data))


def test_truncated_and_sparse_files_are_refused():
    for compression in (None, "zlib", "lzw"):
        data = tiff(RGB8, compression=compression, rowsperstrip=8)
        assert code(data[:-20]) == "damaged_image"
    assert code(patched(tiff(RGB8, compression="zlib"), 279, 0)) == "damaged_image"


def test_other_compressions_are_named():
    assert code(patched(tiff(RGB8), 259, 34712)) == "tiff_compression"
    assert code(patched(tiff(RGB8), 262, 10)) == "tiff_colours"


def test_nothing_stands_on_standard_error(capfd):
    good = bytearray(tiff(RGB8, compression="lzw"))
    generator = numpy.random.default_rng(0)
    for _ in range(60):
        broken = bytearray(good)
        for _ in range(4):
            broken[generator.integers(8, len(broken))] = generator.integers(0, 256)
        with contextlib.suppress(ImageError):
            decode.decode_image(bytes(broken), decode.DecodeLimits(max_pixels=10_000))

    assert capfd.readouterr() == ("", "")


def test_resolutions_without_a_value_are_none():
    data = tiff(RGB8, resolution=(300, 300), resolutionunit="inch")
    assert decode.metadata(data)[1][-1] == 300
    with tifffile.TiffFile(io.BytesIO(data)) as found:
        place = found.pages[0].tags[282].valueoffset
    zero = data[:place] + bytes(8) + data[place + 8 :]
    assert decode.metadata(zero)[1][-1] == 0
