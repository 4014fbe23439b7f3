"""Scale samples of more than 8 bits to 8 bits, by the depth that the file states and never by the brightest pixel."""

import re
from collections.abc import Iterable

import numpy

from Classes.common.errors import ImageError
from Classes.common.translation import Message

# Up to this fraction of the samples may exceed the stated depth: hot pixels, a burned-in scale bar. They become white.
OUTLIERS = 0.01

# How cameras, ImageJ, Micro-Manager, OME and Bio-Formats write the depth in text.
_STATED = re.compile(
    r"(?<![a-z])(?:significant[ _]?bits|(?:camera[ _]?)?bit[ _]?depth|camera[ _]?bits?"
    r"|(?:valid[ _]?)?bits[ _]?per[ _]?(?:pixel|sample|channel))[\"']?\s*[:=]\s*[\"']?(\d{1,2})(?!\d)",
    re.IGNORECASE,
)


def stated_in(text: str) -> set[int]:
    """Return the bit depths that a file's description states, as a set of integers."""
    return {int(number) for number in _STATED.findall(text)}


def bits_of(largest: float) -> int | None:
    """Return n if `largest` is 2**n - 1 with n from 8 to 31, else None: other values are only a statistic."""
    bits = int(largest).bit_length() if 0 < largest < 2**31 and largest == int(largest) else 0
    return bits if bits >= 8 and int(largest) == 2**bits - 1 else None


def eight_bits(values: numpy.ndarray, name: str, *, stated: Iterable[int] = (), sample_bits: int = 0) -> numpy.ndarray:
    """Scale samples to 8 bits.

    Integers are scaled by the depth that the file states. If it states only the depth of its container, such as 16
    bits, the samples must clearly use it: a camera of 8 to 14 bits and a dark image of 16 bits look alike.
    Floating-point samples are fractions of 1.

    Args:
      values: whole or floating-point numbers [H, W] or [H, W, C], without transparency.
      name: what an error calls the image.
      stated: bit depths found in the file; one smaller than the container's counts.
      sample_bits: the configuration key `SampleBits`, for files that state none; 0: unknown.
    Returns:
      uint8 in the shape of `values`.
    Raises:
      ImageError: "unknown_bit_depth", "not_finite" or "negative_samples".
    """
    if values.dtype == numpy.uint8:
        return values
    if values.dtype.kind == "f":
        return _fractions(values, name, stated, sample_bits)
    if values.dtype.kind not in "iu" or values.dtype.itemsize > 4:
        text = Message(
            "{name}: {dtype} samples are not supported; save it with 8 bits per channel", name=name, dtype=values.dtype
        )
        raise ImageError(text, code="sample_format")
    if values.dtype.kind == "i" and values.min(initial=0) < 0:
        raise _negative(name)
    container = values.dtype.itemsize * 8 - (values.dtype.kind == "i")
    used = _used(values, container)
    known = {bits for bits in stated if bits < container}
    if len(known) == 1 and _fraction_above(used, bits := known.pop()) <= OUTLIERS:
        return _scaled(values, container if _left_justified(used, bits, container) else bits)
    # The configured depth is for all files; a file of a camera with fewer bits must not come out dark.
    if sample_bits and _fraction_above(used, sample_bits) <= OUTLIERS < _fraction_above(used, sample_bits - 2):
        return _scaled(values, sample_bits)
    # Two bits less than the container: a 16-bit image with nothing above 14 bits may come from a 14-bit camera.
    if not used.size or _fraction_above(used, container - 2 + (values.dtype.kind == "i")) > OUTLIERS:
        return _scaled(values, container)
    found = Message(
        "{bits}-bit samples, nearly all below {limit}",
        bits=values.dtype.itemsize * 8,
        limit=_next_power_of_two(used),
    )
    if sample_bits:
        found = Message("{found} (SampleBits is {bits})", found=found, bits=sample_bits)
    raise _unknown(name, found)


def _used(values: numpy.ndarray, container: int) -> numpy.ndarray:
    """Return the samples that depend on the depth: not padding of zeros or full scale."""
    values = values.ravel()
    # A million samples are enough; an odd step reaches all of three or four channels.
    values = values[:: (len(values) // 1_000_000) | 1]
    return values[(values > 0) & (values < 2**container - 1)]


def _fraction_above(used: numpy.ndarray, bits: int) -> float:
    return numpy.count_nonzero(used > 2**bits - 1) / max(used.size, 1)


def _next_power_of_two(used: numpy.ndarray) -> int:
    return 2 ** int(numpy.quantile(used, 1 - OUTLIERS)).bit_length()


def _left_justified(used: numpy.ndarray, bits: int, container: int) -> bool:
    """Return whether the samples are shifted to the top of the container, as PNG requires; it is the scale then."""
    return bits < container and used.size > 0 and not (used & (2 ** (container - bits) - 1)).any()


def _scaled(values: numpy.ndarray, bits: int) -> numpy.ndarray:
    """Return uint8: value * 255 / (2**bits - 1), rounded; larger values become 255."""
    if bits > 16:
        values, bits = values >> (bits - 16), 16
    table = numpy.rint(numpy.arange(2**16) * (255 / (2**bits - 1))).clip(0, 255).astype("uint8")
    return table[numpy.minimum(values, min(2**16 - 1, numpy.iinfo(values.dtype).max))]


def _fractions(values: numpy.ndarray, name: str, stated: Iterable[int], sample_bits: int) -> numpy.ndarray:
    if not numpy.isfinite(values).all():
        raise ImageError(
            Message("{name}: it has samples that are not numbers; save it with 8 bits per channel", name=name),
            "not_finite",
        )
    count = max(values.size, 1)
    if numpy.count_nonzero(values < -0.01) / count > OUTLIERS:
        raise _negative(name)
    known = {bits for bits in stated if 8 <= bits <= 16}
    full = 1
    if numpy.count_nonzero(values > 1.01) / count > OUTLIERS:
        bits = known.pop() if len(known) == 1 else 0 if known else sample_bits
        full = 2**bits - 1
        if not bits or numpy.count_nonzero(values > full) / count > OUTLIERS:
            raise _unknown(name, Message("floating-point samples up to {max:.6g}, not from 0 to 1", max=values.max()))
    scaled = numpy.multiply(values, 255 / full, dtype="float32")
    return numpy.clip(numpy.rint(scaled, out=scaled), 0, 255, out=scaled).astype("uint8")


def _negative(name: str) -> ImageError:
    return ImageError(
        Message(
            "{name}: it has negative samples, so it is a computed image and not a photograph; save the "
            "photograph with 8 bits per channel",
            name=name,
        ),
        code="negative_samples",
    )


def _unknown(name: str, found: str) -> ImageError:
    return ImageError(
        Message(
            "{name}: {found}, and the file does not state the camera's bit depth. Set SampleBits to it, "
            "or save the image with 8 bits per channel.",
            name=name,
            found=found,
        ),
        code="unknown_bit_depth",
    )
