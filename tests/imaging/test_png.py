"""PNG and PPM of more than 8 bits, and checksums of PNG."""

import contextlib
import struct
import zlib

import numpy
import pytest

from Classes.common.errors import ImageError
from Classes.imaging import decode
from tests.support.encoded_images import encoded, noise


def chunks(data, kind, content, right=True):
    """A PNG with one more chunk behind its header, its checksum right or wrong."""
    chunk = struct.pack(">I", len(content)) + kind + content
    return data[:33] + chunk + struct.pack(">I", zlib.crc32(kind + content) ^ (not right)) + data[33:]


def rgb16(values):
    """A 16-bit RGB PNG of whole numbers [H, W, 3]."""
    import imagecodecs

    return imagecodecs.png_encode(values.astype("uint16"))


def test_sixteen_bit_color_png_of_its_full_range():
    values = numpy.array([[[0, 257, 65535], [32896, 40000, 51400]]])

    assert decode.decode_image(rgb16(values)).tolist() == [[[0, 1, 255], [128, 156, 200]]]


def test_the_depth_that_a_png_states_counts():
    values = numpy.array([[[0, 819, 4095], [2048, 1000, 333]]])
    # value * 255 / 4095
    expected = [[[0, 51, 255], [128, 62, 21]]]

    assert decode.decode_image(chunks(rgb16(values), b"sBIT", b"\x0c\x0c\x0c")).tolist() == expected
    assert decode.decode_image(rgb16(values), decode.DecodeLimits(sample_bits=12)).tolist() == expected
    # As the PNG standard has it, 12 bits stand at the top of 16; also if the picture is dark.
    for factor, shown in ((16, [[[0, 51, 255], [128, 62, 21]]]), (0, [[[0, 0, 0], [0, 0, 0]]])):
        assert decode.decode_image(chunks(rgb16(values * factor), b"sBIT", b"\x0c\x0c\x0c")).tolist() == shown
    with pytest.raises(ImageError) as caught:
        decode.decode_image(rgb16(values))
    assert caught.value.code == "unknown_bit_depth"


def test_sixteen_bit_png_with_a_transparent_color_and_nothing_on_standard_error(capfd):
    values = numpy.random.default_rng(0).integers(0, 65536, (30, 33, 3))
    data = chunks(rgb16(values), b"tRNS", struct.pack(">HHH", *values[0, 0]))
    expected = numpy.rint(values / 257).astype("uint8")
    expected[0, 0] = 255
    numpy.testing.assert_array_equal(decode.decode_image(data), expected)
    # Read by libpng only with remarks: another compression method, and bytes behind the last pixel.
    body = data.index(b"IDAT") - 4
    size = int.from_bytes(data[body : body + 4], "big")
    pixels = zlib.decompress(data[body + 8 : body + 8 + size])
    content = zlib.compress(pixels + bytes(99))
    odd = struct.pack(">I", len(content)) + b"IDAT" + content + struct.pack(">I", zlib.crc32(b"IDAT" + content))
    for broken in (data[:body] + odd + data[body + 12 + size :],):
        with contextlib.suppress(ImageError):
            numpy.testing.assert_array_equal(decode.decode_image(broken), expected)

    assert capfd.readouterr() == ("", "")


def test_interlaced_sixteen_bit_png():
    # Adam7 of an image of 1x1 has one pass, of 2x1 two.
    def png(width, passes):
        header = struct.pack(">IIBBBBB", width, 1, 16, 0, 0, 0, 1)
        parts = ((b"IHDR", header), (b"IDAT", zlib.compress(passes)), (b"IEND", b""))
        chunk = (struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in parts)
        return b"\x89PNG\r\n\x1a\n" + b"".join(chunk)

    two = png(2, b"\0" + struct.pack(">H", 32896) + b"\0" + struct.pack(">H", 51400))
    assert decode.decode_image(png(1, b"\0" + struct.pack(">H", 32896)))[0, :, 0].tolist() == [128]
    assert decode.decode_image(two)[0, :, 0].tolist() == [128, 200]


def test_sixteen_bit_png_with_transparency():
    import imagecodecs

    values = numpy.full((2, 2, 4), 51400, "uint16")
    values[0, 0, 3], values[1:, :, 3], values[0, 1, 3] = 0, 65535, 32896
    shown = decode.decode_image(imagecodecs.png_encode(values))[..., 0]
    # 0.502 * 200 + 0.498 * 255 = 227.
    assert shown.tolist() == [[255, 227], [200, 200]]
    values[..., 3] = 0
    assert (decode.decode_image(imagecodecs.png_encode(values)) == 200).all()


def test_ppm_has_the_depth_of_its_header():
    data = b"P5 3 1 4095\n" + struct.pack(">HHH", 0, 819, 2048)

    assert decode.decode_image(data)[0, :, 0].tolist() == [0, 51, 128]


def test_a_wrong_checksum_of_a_note_is_passed_over_and_one_of_the_picture_is_not():
    image = noise(20, 20)
    good = encoded(image, "PNG")

    numpy.testing.assert_array_equal(decode.decode_image(chunks(good, b"tEXt", b"a\0b", right=False)), image)
    assert decode.read_header(chunks(good, b"pHYs", bytes(9), right=False)).width == 20
    end = good.rindex(b"IEND") - 5
    with pytest.raises(ImageError) as caught:
        decode.decode_image(good[: end - 3] + bytes([good[end - 3] ^ 1]) + good[end - 2 :])
    assert caught.value.code == "bad_checksum"
