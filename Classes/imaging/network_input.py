"""Crop, resize and scale an image for a network; training and inference share these functions."""

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy
import PIL.Image

from Classes.imaging import decode, pixel_math

# Fraction of the shorter side that the network sees: Inception's evaluation crop (Szegedy et al., arXiv:1512.00567).
# On real cells it reaches 0.975 instead of 0.957 accuracy in five-fold cross-validation of the last layer.
CROP_FRACTION = 0.875


class CentralSquare(NamedTuple):
    """The part of a decoded image that a network sees, at the resolution of the image; safe from any thread.

    Attributes:
      picture: the whole image, in RGB.
      box: (left, top, right, bottom) of the square in pixels.
    """

    picture: PIL.Image.Image
    box: tuple[float, float, float, float]

    def network_picture(self, size: int) -> PIL.Image.Image:
        """Return the square with `size` pixels per side, as a network sees it."""
        # Bicubic neither blurs chromatin as averaging does nor rings at the rim of a nucleus as Lanczos does. When it
        # shrinks an image, Pillow widens the kernel over all pixels that fall into one, so nothing aliases.
        return self.picture.resize((size, size), PIL.Image.Resampling.BICUBIC, box=self.box)

    def small(self) -> numpy.ndarray:
        """Return the square as the checks of the image see it, uint8 [TEXTURE_SIDE, TEXTURE_SIDE, 3].

        It does not depend on the network, and is made while another thread makes `network_picture`.
        """
        return pixel_math.resize(self.picture, pixel_math.TEXTURE_SIDE, self.box)


def central_square(picture: PIL.Image.Image, crop: float = CROP_FRACTION) -> CentralSquare:
    """Return the central square of an image.

    Args:
      picture: the image, in RGB.
      crop: side of the square as a fraction of the image's shorter side.
    """
    side = min(picture.size) * crop
    left, top = ((length - side) / 2 for length in picture.size)
    return CentralSquare(picture, (left, top, left + side, top + side))


@dataclasses.dataclass(frozen=True)
class InputSpec:
    """How a network sees an image; stored in the model card.

    Attributes:
      size: side of the square input in pixels.
      mean, scale: the input is (pixel - mean) / scale.
      channels: "RGB" or "BGR", the order in the input.
      crop: fraction of the image's shorter side that the network sees.
    """

    size: int
    mean: float = 128.0
    scale: float = 128.0
    channels: str = "RGB"
    crop: float = CROP_FRACTION

    def decode_and_resize(
        self,
        source: bytes | str | os.PathLike,
        limits: decode.DecodeLimits = decode.DEFAULT_LIMITS,
        name: str | None = None,
    ) -> numpy.ndarray:
        """Decode an image and resize its central square.

        Args:
          source: bytes or path of an image file.
          limits: see decode.decode_limits.
          name: name of the image in error messages; see decode.decode_image.
        Returns:
          uint8 [size, size, 3], RGB.
        Raises:
          ImageError: see decode.decode_image.
        """
        with self.open_square(source, limits, name) as square:
            return numpy.asarray(square.network_picture(self.size))

    def decode_views(
        self,
        source: bytes | str | os.PathLike,
        limits: decode.DecodeLimits = decode.DEFAULT_LIMITS,
        name: str | None = None,
    ) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Return (what `decode_and_resize` returns, CentralSquare.small), for callers that also check the image."""
        with self.open_square(source, limits, name) as square:
            return numpy.asarray(square.network_picture(self.size)), square.small()

    @contextlib.contextmanager
    def open_square(
        self,
        source: bytes | str | os.PathLike,
        limits: decode.DecodeLimits = decode.DEFAULT_LIMITS,
        name: str | None = None,
    ) -> Iterator[CentralSquare]:
        """Yield the central square of an image, decoded but not resized; the arguments are those of `decode_views`."""
        with decode.open_rgb(source, limits, self.size / self.crop, name) as image:
            yield central_square(image, self.crop)

    def normalize(self, images: Any) -> Any:
        """Scale pixels to the range that the network was trained on; see `normalize`."""
        return normalize(images, self.mean, self.scale, self.channels)


def center_crop_resize(image: numpy.ndarray, size: int, crop: float = CROP_FRACTION) -> numpy.ndarray:
    """Resize the central square of an image.

    Args:
      image: uint8 [H, W, 3].
      size: side of the result in pixels.
      crop: side of the square as a fraction of the image's shorter side.
    Returns:
      uint8 [size, size, 3].
    """
    return numpy.asarray(central_square(PIL.Image.fromarray(image), crop).network_picture(size))


def normalize(images: Any, mean: float = 128, scale: float | None = None, channels: str = "RGB") -> Any:
    """Scale pixels to the range that the network was trained on.

    Args:
      images: [N, H, W, 3], RGB, 0..255; a numpy array, or a float32 tensor of a training framework.
      mean: subtracted from each pixel.
      scale: divisor; None: `mean`.
      channels: order in the result, "RGB" or "BGR".
    Returns:
      float32 [N, H, W, 3]: (pixel - mean) / scale, in [-1, 0.992] for the historic 128 and 128.
    Raises:
      TypeError: a tensor of integers, in which pixels darker than the mean would wrap around.
    """
    if channels == "BGR":
        images = images[..., ::-1]
    if isinstance(images, numpy.ndarray):
        # Backends need contiguous rows, which a reversed view does not have.
        scaled = images.astype("float32", order="C")
        # In place: three arrays of this size take ten times as long, mostly for fresh memory.
        scaled -= mean
        scaled /= scale or mean
        return scaled
    if images.dtype.name != "float32":
        raise TypeError(f"normalize: a tensor must be float32, not {images.dtype.name}")
    return (images - mean) / (scale or mean)
