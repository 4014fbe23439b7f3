"""Other stains, lights, lenses, cameras and files: the random distortions of the cell finder's training images.

Stains are changed where they add up, in optical density (Beer-Lambert), as in Tellez et al., Whole-slide mitosis
detection in H&E breast histology (IEEE TMI 2018).
"""

import io

import numpy
import PIL.Image
import scipy.ndimage


def distort_colors(rng: numpy.random.Generator, image: numpy.ndarray, size: float) -> numpy.ndarray:
    """Return a distorted copy.

    Args:
      rng: random generator.
      image: float32 [S, S, 3], 0 to 255.
      size: diameter of a white cell in pixels.
    Returns:
      uint8 [S, S, 3].
    """
    image = _stain(rng, image)
    image = _light(rng, image)
    if rng.random() < 0.35:
        image = scipy.ndimage.gaussian_filter(image, (*[rng.uniform(0.2, 0.045 * size)] * 2, 0))
    elif rng.random() < 0.2:
        image = image + rng.uniform(0.3, 1.5) * (image - scipy.ndimage.gaussian_filter(image, (1, 1, 0)))
    if rng.random() < 0.4:
        image = image + rng.standard_normal(image.shape, "float32") * rng.uniform(1, 8)
    return image.clip(0, 255).astype("uint8")


def compress(image: numpy.ndarray, quality: int) -> numpy.ndarray:
    """Return an image, uint8 [H, W, 3], as JPEG of this quality gives it back."""
    file = io.BytesIO()
    PIL.Image.fromarray(image).save(file, "JPEG", quality=quality)
    return numpy.asarray(PIL.Image.open(file))


def _stain(rng: numpy.random.Generator, image: numpy.ndarray) -> numpy.ndarray:
    """Change strength and color of the stains, and the light that passes where there is none."""
    white = numpy.percentile(image[::4, ::4].reshape(-1, 3), 90, axis=0) + 1
    density = -numpy.log((image + 1) / white)
    strength = rng.choice([0.1, 0.3, 0.6], p=[0.35, 0.4, 0.25])
    mixing = numpy.eye(3) + rng.normal(0, 0.3 * strength, (3, 3))
    mixing *= numpy.exp(rng.normal(0, 0.4 * strength, 3))
    density = density @ mixing.T.astype("float32") * float(numpy.exp(rng.normal(0, 0.5 * strength)))
    if rng.random() < 0.06:
        density = density * 0.1 + density.mean(axis=-1, keepdims=True) * 0.9
    # Thick drops absorb more than any stain; without a limit an odd mixture gives black and white only.
    density = density.clip(-0.6, 4)
    brightness = rng.uniform(110, 255) if rng.random() < 0.5 else float(white.mean())
    tint = white / white.mean() * numpy.exp(rng.normal(0, 0.25 * strength, 3))
    return (brightness * tint / max(1.0, tint.max() * brightness / 262) * numpy.exp(-density)).astype("float32")


def _light(rng: numpy.random.Generator, image: numpy.ndarray) -> numpy.ndarray:
    """Change brightness, contrast and gamma, and let the light fall off to one side."""
    if rng.random() < 0.3:
        image = 255 * (image.clip(0, 255) / 255) ** float(numpy.exp(rng.normal(0, 0.25)))
    if rng.random() < 0.3:
        mean = image.mean()
        image = (image - mean) * rng.uniform(0.6, 1.3) + mean * rng.uniform(0.8, 1.15)
    if rng.random() < 0.3:
        side = numpy.linspace(-1, 1, len(image), dtype="float32")
        slope = rng.uniform(-0.25, 0.25, 2).astype("float32")
        image = image * (1 + slope[0] * side[:, None, None] + slope[1] * side[None, :, None])
    return image
