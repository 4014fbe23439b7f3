"""The one decoder and the one resize: training and serving see the same pixels."""

import contextlib
import dataclasses
import functools
import io
import math
import os
import pathlib
import stat
import struct
import zlib

import numpy
import PIL.ExifTags
import PIL.Image
import PIL.ImageOps

from Classes.common.errors import ImageError, ImageSizeError, UnsupportedImageError
from Classes.common.warnings_filter import suppress_warnings
from Classes.imaging import bit_depth, file_kinds, tiff

# Told by content, never by name. What is not here (EPS, PDF, …) would start another program or hide many pages. TIFF is
# Tiff's: Pillow keeps 8 of 16 bits, takes the first of several pages, and its libtiff writes to the terminal.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "PPM", "WEBP")

# Share of the shorter side that the network sees: Inception's own evaluation crop (Szegedy et al., arXiv:1512.00567).
# On real cells it gives 0.975 instead of 0.957 in five-fold cross-validation of the last layer.
CROP_FRACTION = 0.875

# What a JPEG decoded at a reduced scale must still have in each side, in units of the side that is needed. Measured
# on photos of blood cells enlarged to 1,500 … 4,800 pixels: the network's pixels then differ from those of the full
# decode by 0.2 of 255 levels on average, by 0.5 under strong noise, and by 6 in the worst pixel.
DRAFT_MARGIN = 2

# For `has_content`, in levels of 255 and as a correlation.
GRID = 32
CONTENT = 12
EDGE = 16
COHERENT = 0.2

# A JPEG of a few kilobytes can ask for thousands of passes over all of its pixels; photos have about ten.
MAX_SCANS = 100


@dataclasses.dataclass(frozen=True)
class ImageInfo:
    """What is known of an image without its pixels.

    Attributes:
      format: "jpg", "png", "gif", "bmp", "ppm", "tiff" or "webp", told by content.
      width, height: pixels as stored, before the orientation that a camera noted is applied.
    """

    format: str
    width: int
    height: int


def decode_image(source, *, at_least=None, **limits):
    """Decode one image.

    The orientation that a camera noted (EXIF) is applied, an animation gives its first frame, transparency is laid on
    white unless all of the image is transparent. More than 8 bits are scaled by the depth that the file states (see
    Samples); of the pages of a TIFF the photograph is taken (see Tiff).

    Args:
      source: the file's bytes, or its path.
      at_least: the shorter side that the caller needs, in pixels; a much larger JPEG is then decoded at 1/2, 1/4 or
        1/8 scale, which is faster and loses next to nothing of what a resize to that side would keep (see REDUCED).
      max_pixels: limit from the configuration key `MaxPixels`, held against the header before anything is decoded;
        40,000,000 when not given.
      max_side: limit from `MaxSide`, in pixels; 20,000 when not given.
      sample_bits: bit depth from `SampleBits`, for files that do not state theirs; 0, unknown, when not given.
      name: what an error calls the image; its path, or "the image" for bytes, when not given.
    Returns:
      uint8 [H, W, 3], RGB.
    Raises:
      ImageError: not one readable image within the limits; ImageSizeError and ImageKindError if that is why.
    """
    with _decoded(source, at_least, **limits) as image:
        return numpy.asarray(_to_rgb(_apply_exif_orientation(image)))


def decode_thumbnail(source, side, **limits):
    """Decode one image in full and keep a small picture of it: where a broken file must be found, and little be seen.

    Args:
      source, limits: as for `load`.
      side: pixels that the picture's shorter side keeps at least, where the image has them; less than twice as many.
    Returns:
      (Facts, uint8 [h, w, 3], RGB).
    Raises:
      ImageError: in the cases of `load`.
    """
    with _decoded(source, **limits) as image:
        found, factor = _image_info(image), min(image.size) // side
        if factor > 1:
            # Other modes first become what can be averaged.
            plain = image if image.mode in ("RGB", "L") else _to_rgb(image)
            small = plain.reduce(factor)
            small.info.update(image.info)
            image = small
        return found, numpy.asarray(_to_rgb(_apply_exif_orientation(image)))


def read_header(source):
    """What the header of an image says that `load` has read before; nothing is decoded.

    Args:
      source: the file's bytes.
    Returns:
      Facts.
    """
    with _header(source) as (image, _):
        return image


def metadata(source):
    """What a file says beside its picture, of an image that `load` has read before.

    Args:
      source: the file's bytes.
    Returns:
      (mode: how it is stored, such as "RGB" or "I;16"; figures that have nothing to do with the picture: sum of the
      JPEG quantization tables, bytes of EXIF and of ICC data, resolution in dots per inch or 0).
    """
    with _header(source) as (_, found):
        resolution = found["dpi"] if math.isfinite(found["dpi"]) else 0.0
        return found["mode"], [found.get("tables", 0), found["exif"], found["icc"], resolution]


@contextlib.contextmanager
def _header(source):
    """(Facts, dict of what `metadata` needs), read without decoding."""
    file = io.BytesIO(source)
    if source[:4] in tiff.SIGNATURES:
        with suppress_warnings, tiff.opened(file, "the image") as pages:
            yield ImageInfo("tiff", pages[0].imagewidth, pages[0].imagelength), tiff.about(pages)
        return
    with suppress_warnings, PIL.Image.open(_sound(file, "the image"), formats=FORMATS) as image:
        tables = getattr(image, "quantization", None) or {}
        found = {
            "mode": image.mode,
            "dpi": _number(image.info.get("dpi", (0, 0))[0]),
            "exif": len(image.info.get("exif", b"")),
            "icc": len(image.info.get("icc_profile", b"")),
            "tables": sum(map(sum, tables.values())),
        }
        yield _image_info(image), found


def _number(value):
    """A resolution as float; 0 for a fraction without a value, which some writers leave."""
    try:
        return float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return 0.0


def has_content(image):
    """Whether an image shows anything, and is not blank, evenly lit, or only noise.

    Averaging over a grid of GRID x GRID takes off noise, a surface of fourth order uneven light. What is left has to
    reach CONTENT levels and to be alike in neighbours, which noise is not; a step of EDGE levels between neighbours
    distinguishes an object from a gradient.

    Args:
      image: uint8 [H, W, 3], RGB, the part of an image that a network sees.
    Returns:
      bool.
    """
    contrast, step, coherence = _structure(image)
    return contrast >= CONTENT and step >= EDGE and coherence >= COHERENT


def require_content(image, name="the image"):
    """Raise ImageError "no_content" unless `has_content`.

    Args:
      image: uint8 [H, W, 3], the part of the image that a network sees.
      name: what the error calls it.
    """
    if not has_content(image):
        raise ImageError(
            f"{name}: the image shows nothing (blank, one color, transparent, only a gradient or only noise), so there "
            "is no result. Send a photograph of a cell.",
            code="no_content",
        )


def _structure(image):
    """What `has_content` compares: levels that a smooth surface leaves, largest step, correlation of neighbours."""
    small = PIL.Image.fromarray(image).resize((GRID, GRID), PIL.Image.Resampling.BOX)
    values = numpy.asarray(small, "float64")
    step = max(float(numpy.abs(numpy.diff(values, axis=axis)).max()) for axis in (0, 1))
    values = values.reshape(GRID * GRID, 3)
    left = values - _surfaces() @ (_surfaces().T @ values)
    # A scale bar or a date in a blank image is less than a fiftieth of it.
    low, high = numpy.quantile(left, [0.02, 0.98], axis=0)
    plane = left[:, (high - low).argmax()].reshape(GRID, GRID)
    neighbours = (plane[:, 1:] * plane[:, :-1]).mean() + (plane[1:] * plane[:-1]).mean()
    return float((high - low).max()), step, float(neighbours / 2 / max((plane**2).mean(), 1e-9))


@functools.cache
def _surfaces():
    """float64 [GRID * GRID, 15]: an orthonormal basis of the polynomials of fourth order over the image."""
    rows, columns = numpy.mgrid[-1 : 1 : GRID * 1j, -1 : 1 : GRID * 1j]
    powers = [(rows**i * columns**j).ravel() for i in range(5) for j in range(5 - i)]
    return numpy.linalg.qr(numpy.stack(powers, -1))[0]


def center_crop_resize(image, size, crop=CROP_FRACTION):
    """The central square of an image, resized.

    Args:
      image: uint8 [H, W, 3].
      size: side of the result in pixels.
      crop: width of the square as a share of the image's shorter side.
    Returns:
      uint8 [size, size, 3].
    """
    return _crop_resize_pil(PIL.Image.fromarray(image), size, crop)


def _crop_resize_pil(image, size, crop):
    """`square` of a PIL.Image."""
    side = min(image.size) * crop
    left, top = ((length - side) / 2 for length in image.size)
    # Bicubic, since it neither blurs chromatin as averaging does nor rings at a nucleus's rim as Lanczos does. Where
    # it shrinks, Pillow widens the kernel over all pixels that fall into one, so nothing aliases.
    resized = image.resize((size, size), PIL.Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    return numpy.asarray(resized)


def decode_limits(configuration):
    """The configured max_pixels, max_side and sample_bits: keyword arguments of `load`, `glance` and `prepare`."""
    return {
        "max_pixels": configuration["MaxPixels"],
        "max_side": configuration["MaxSide"],
        "sample_bits": configuration["SampleBits"],
    }


def decode_and_resize(source, size, crop=CROP_FRACTION, **limits):
    """What both wings call: `load`, then `square`, without the copies between them.

    Args:
      source: the file's bytes, or its path.
      size: side of the network's input in pixels.
      crop: see `square`.
      limits: max_pixels, max_side, sample_bits and name of `load`.
    Returns:
      uint8 [size, size, 3], RGB.
    Raises:
      ImageError: in the cases of `load`.
    """
    with _decoded(source, size / crop, **limits) as image:
        return _crop_resize_pil(_to_rgb(_apply_exif_orientation(image)), size, crop)


@dataclasses.dataclass(frozen=True)
class InputSpec:
    """How a network sees an image; the one thing that both wings have to agree on, and a part of the model card.

    Attributes:
      size: side of its square input in pixels.
      mean, scale: it sees (pixel - mean) / scale.
      channels: "RGB" or "BGR", their order in its input.
      crop: share of the shorter side that it sees.
    """

    size: int
    mean: float = 128.0
    scale: float = 128.0
    channels: str = "RGB"
    crop: float = CROP_FRACTION

    def prepare(self, source, **limits):
        """The module's `prepare` with this view's size and crop: uint8 [size, size, 3], RGB."""
        return decode_and_resize(source, self.size, self.crop, **limits)

    def network_input(self, images):
        """The module's `network_input` with this view's scaling and channels."""
        return normalize(images, self.mean, self.scale, self.channels)


def normalize(images, mean=128, scale=None, channels="RGB"):
    """Scale pixels to what the network was trained on.

    Args:
      images: [N, H, W, 3], RGB, 0..255; numpy uint8, or a float32 tensor of a training framework.
      mean: what is taken off, such as the configuration key `Mean`.
      scale: what is divided by; None: `mean`.
      channels: their order in the result, "RGB" or "BGR".
    Returns:
      float32 [N, H, W, 3]: (pixel - mean) / scale, in [-1, 0.992] for the historic 128 and 128.
    Raises:
      TypeError: a tensor of whole numbers, in which what is darker than the mean would come out brightest.
    """
    if channels == "BGR":
        images = images[..., ::-1]
    if isinstance(images, numpy.ndarray):
        # Engines want rows that lie one after the other, which those of a mirrored array do not.
        scaled = images.astype("float32", order="C")
        # In place: three arrays of this size would take ten times as long, mostly for fresh memory.
        scaled -= mean
        scaled /= scale or mean
        return scaled
    if images.dtype.name != "float32":
        raise TypeError(f"network_input: a tensor has to be float32, this one is {images.dtype.name}")
    return (images - mean) / (scale or mean)


@contextlib.contextmanager
def _decoded(source, at_least=None, *, max_pixels=40_000_000, max_side=20_000, sample_bits=0, name=None):
    """Yield a decoded PIL.Image; whatever goes wrong, in the caller's block too, becomes an ImageError."""
    in_memory = isinstance(source, (bytes, bytearray, memoryview))
    name = name or ("the image" if in_memory else os.fspath(source))
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(io.BytesIO(source) if in_memory else _open(source, name))
        head = file.read(4)
        if not head:
            raise ImageError(f"{name}: the file is empty; send it again or leave it out", code="empty_file")
        file.seek(0)
        try:
            stack.enter_context(suppress_warnings)
            if head in tiff.SIGNATURES:
                pages = stack.enter_context(tiff.opened(file, name))
                _check_size((pages[0].imagewidth, pages[0].imagelength), name, max_pixels, max_side)
                image = tiff.decode(pages, name, sample_bits)
                image.format = "TIFF"
            else:
                file = _sound(file, name)
                image = stack.enter_context(PIL.Image.open(file, formats=FORMATS))
                _check_size(image.size, name, max_pixels, max_side)
                _check_scans(image, name, file)
                _set_draft_size(image, at_least)
                image = _pixels(image, file, name, sample_bits)
            yield image
        except ImageError:
            raise
        except PIL.UnidentifiedImageError as error:
            raise _unidentified(file, name) from error
        except PIL.Image.DecompressionBombError as error:
            limit = min(max_pixels, 2 * PIL.Image.MAX_IMAGE_PIXELS)
            raise ImageSizeError(f"{name}: a decompression bomb; {limit} pixels are allowed (MaxPixels)") from error
        except Exception as error:  # what the libraries raise on broken bytes is open-ended
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            raise ImageError(f"{name}: damaged image ({reason}); send it again or leave it out") from error


_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"P5", b"P6", b"RIFF", *tiff.SIGNATURES)


def _unidentified(file, name):
    """The error for bytes that no decoder takes, which names what they are."""
    file.seek(0)
    head = file.read(1024)
    found = file_kinds.identify(head)
    if found:
        return UnsupportedImageError(f"{name}: not a supported image but {found[0]}; {found[1]}")
    if head.startswith(_SIGNATURES[:3]):
        return ImageError(f"{name}: damaged image (its header cannot be read); send it again or leave it out")
    known = ", ".join((*FORMATS, "TIFF"))
    return UnsupportedImageError(f"{name}: not a supported image ({known}); save it as one of these")


def _pixels(image, file, name, sample_bits):
    """A decoded image of 8 bits per channel, or of Pillow's mode I or F of them."""
    if image.format == "PNG" and _png_bits(file) == 16:
        return _deep_png(image, file, name, sample_bits)
    if image.format in ("JPEG", "MPO"):
        return _jpeg(image, file)
    image.load()
    if image.mode == "I" or image.mode.startswith("I;16"):
        # PPM: Pillow has scaled its maxval to 65535.
        values = numpy.asarray(image).astype("uint16")
        return PIL.Image.fromarray(bit_depth.eight_bits(values, name, sample_bits=16))
    if image.mode == "F":
        return PIL.Image.fromarray(bit_depth.eight_bits(numpy.asarray(image), name, sample_bits=sample_bits))
    return image


def _jpeg(image, file):
    """A decoded JPEG; one that lacks only the two bytes of its end is whole."""
    try:
        image.load()
        return image
    except OSError as error:
        file.seek(0)
        data = file.read()
        end = b"\xff\xd9"
        if end in data[-2:] or "truncated" not in str(error) or image.format != "JPEG":
            raise
        if image.info.get("progressive") and not _has_all_scans(data, len(image.layer)):
            raise
        # Where pixels are missing, what stands before the end mark shows in the picture; else it is skipped.
        body = data.removesuffix(b"\xff")
        plain, other = (_again(image, body + filling + end) for filling in (b"", b"\x55\xaa" * 4096))
        if plain.tobytes() != other.tobytes():
            raise
        return plain


def _has_all_scans(data, components):
    """Whether the scans of a progressive JPEG bring each of the 64 coefficients of each component to its last bit."""
    left = {}
    place = data.find(b"\xff\xda")
    while place >= 0 and place + 5 + 2 * data[place + 4] + 3 <= len(data):
        count = data[place + 4]
        first, last, bits = data[place + 5 + 2 * count : place + 8 + 2 * count]
        for component in data[place + 5 : place + 5 + 2 * count : 2]:
            left |= {(component, coefficient): bits & 15 for coefficient in range(first, min(last, 63) + 1)}
        place = data.find(b"\xff\xda", place + 2)
    return len(left) == 64 * components and not any(left.values())


def _again(image, data):
    """A JPEG decoded from other bytes, at the same scale."""
    with PIL.Image.open(io.BytesIO(data), formats=("JPEG",)) as other:
        if other.size != image.size:
            other.draft(None, image.size)
        other.load()
        return other


PNG = b"\x89PNG\r\n\x1a\n"


def _chunks(data):
    """(kind, start, end, whether its checksum is right) of each chunk of a PNG up to the first that is cut off."""
    place = len(PNG)
    while place + 12 <= len(data):
        end = place + 12 + int.from_bytes(data[place : place + 4], "big")
        if end > len(data):
            return
        kind = bytes(data[place + 4 : place + 8])
        yield kind, place, end, zlib.crc32(data[place + 4 : end - 4]) == int.from_bytes(data[end - 4 : end], "big")
        place = end
        if kind == b"IEND":
            return


def _sound(file, name):
    """A PNG without the notes whose checksum is wrong, which libpng skips too; other files as they are.

    Raises:
      ImageError: "bad_checksum", in what the picture needs.
    """
    file.seek(0)
    is_png = file.read(len(PNG)) == PNG
    file.seek(0)
    if not is_png:
        return file
    data = memoryview(file.read())
    file.seek(0)
    bad = [(kind, start, end) for kind, start, end, right in _chunks(data) if not right]
    for kind, _, _ in bad:
        # A capital letter: needed for the picture.
        if not kind[0] & 32:
            raise ImageError(
                f"{name}: damaged image (wrong checksum in its {kind.decode('latin-1')} part); send it again or leave "
                "it out",
                code="bad_checksum",
            )
    if not bad:
        return file
    parts, place = [], 0
    for _, start, end in bad:
        parts.append(data[place:start])
        place = end
    return io.BytesIO(b"".join([*parts, data[place:]]))


def _png_bits(file):
    file.seek(24)
    bits = file.read(1)
    return bits[0] if bits else 0


def _deep_png(image, file, name, sample_bits):
    """A PNG of 16 bits per channel, of which Pillow keeps only eight, as one of 8 bits."""
    import imagecodecs

    # Pillow finds truncated files, and reads what stands behind the pixels.
    image.load()
    file.seek(0)
    data = file.read()
    stated = set()
    for kind, start, end, _ in _chunks(data):
        if kind == b"sBIT":
            stated.add(max(data[start + 8 : end - 4]))
    values = imagecodecs.png_decode(_pixels_only(data))
    values = values.reshape(*values.shape[:2], -1)
    count = 1 if values.shape[2] < 3 else 3
    pixels = bit_depth.eight_bits(values[..., :count], name, stated=stated, sample_bits=sample_bits)
    if values.shape[2] > count:
        pixels = numpy.concatenate([pixels, (values[..., count:] >> 8).astype("uint8")], -1)
    result = PIL.Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    result.info, result.format = image.info, image.format
    transparent = result.info.pop("transparency", None)
    if transparent is not None and values.shape[2] == count:
        result = _with_transparent(result, values, transparent)
    result.getexif().update(image.getexif())
    return result


def _pixels_only(data):
    """A PNG with nothing but a sound header and as many bytes as its pixels need: libpng writes its remarks on anything
    else to the terminal.
    """
    parts = [(kind, data[start + 8 : end - 4]) for kind, start, end, _ in _chunks(data)]
    header = next(content for kind, content in parts if kind == b"IHDR")
    width, height, bits, colours, _, _, interlaced = struct.unpack(">IIBBBBB", header[:13])
    pixel = bits // 8 * {0: 1, 2: 3, 4: 2, 6: 4}[colours]
    # First column, first row, distance of columns, distance of rows of each pass.
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    sizes = ((-((x - width) // dx), -((y - height) // dy)) for x, y, dx, dy in passes)
    expected = sum(rows * (1 + columns * pixel) for columns, rows in sizes if rows > 0 and columns > 0)
    inflate = zlib.decompressobj()
    found = inflate.decompress(b"".join(content for kind, content in parts if kind == b"IDAT"), expected + 1)
    if len(found) != expected:
        raise ValueError("more or fewer pixels than its size")
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, int(interlaced > 0))),
        (b"IDAT", zlib.compress(found, 0)),
        (b"IEND", b""),
    )
    return PNG + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def _with_transparent(image, values, colour):
    """An image in which the pixels of one 16-bit colour are transparent (tRNS)."""
    alpha = (values != numpy.atleast_1d(colour)).any(axis=-1)
    image.putalpha(PIL.Image.fromarray(alpha.astype("uint8") * 255))
    return image


def _open(path, name):
    try:
        # Reading a pipe or a device would never end.
        if not stat.S_ISREG(pathlib.Path(path).stat().st_mode):
            raise ImageError(f"{name}: is a folder or a device; give the name of an image file")
        return open(path, "rb")
    except (OSError, ValueError) as error:
        raise ImageError(f"{name}: {getattr(error, 'strerror', None) or error}") from error


def _image_info(image):
    # A JPEG that holds a second picture, such as a preview, is a JPEG to every other program.
    kind = {"JPEG": "jpg", "MPO": "jpg"}.get(image.format, image.format.lower())
    return ImageInfo(kind, *image.size)


def _check_size(size, name, max_pixels, max_side):
    width, height = size
    if max(width, height) > max_side:
        raise ImageSizeError(f"{name}: {width}x{height} pixels, the longest side allowed is {max_side} (MaxSide)")
    if width * height > max_pixels:
        raise ImageSizeError(f"{name}: {width}x{height} pixels, {max_pixels} in all are allowed (MaxPixels)")


def _check_scans(image, name, file):
    if not image.info.get("progressive"):
        return
    position = file.tell()
    file.seek(0)
    # Inside a scan's data the byte FF is never followed by DA.
    scans = sum(block.count(b"\xff\xda") for block in iter(lambda: file.read(1 << 20), b""))
    file.seek(position)
    if scans > MAX_SCANS:
        raise ImageError(f"{name}: {scans} scans, which no camera writes; save it again as a plain JPEG")


def _set_draft_size(image, at_least):
    """Let libjpeg decode at the smallest scale that still has REDUCED times the pixels a side that are needed."""
    if image.format not in ("JPEG", "MPO") or not at_least:
        return
    factor = min(image.size) / (DRAFT_MARGIN * at_least)
    if factor >= 2:
        image.draft(None, tuple(math.ceil(side / factor) for side in image.size))


def _apply_exif_orientation(image):
    try:
        # Pillow copies an image that already stands upright, which most do.
        turned = image.getexif().get(PIL.ExifTags.Base.Orientation, 1) != 1
        return PIL.ImageOps.exif_transpose(image) if turned else image
    except Exception:  # as open-ended as the decoders
        # Only the camera's notes are broken; every viewer shows such an image as it is stored.
        return image


def _to_rgb(image):
    """A decoded image of any mode as an RGB one."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        # Some writers leave an alpha channel of zeros, or of zeros and ones, beside a full picture.
        if image.getextrema()[3][1] > 1:
            image = PIL.Image.alpha_composite(PIL.Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == "RGB" else image.convert("RGB")
