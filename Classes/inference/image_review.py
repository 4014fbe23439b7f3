"""Check before a prediction whether an image is one that the model can judge."""

import dataclasses

import numpy

from Classes.common import outcome
from Classes.imaging import color_stats, image_check
from Classes.inference.model_card import ModelCard


@dataclasses.dataclass(frozen=True)
class ImageReview:
    """What the checks found on an image.

    Attributes:
      reasons: codes of outcome.REASONS; empty if the image is one that the model can judge.
      remark: how the colors differ from those of the training images, or None.
    """

    reasons: tuple[str, ...] = ()
    remark: str | None = None


def review_image(image: numpy.ndarray, card: ModelCard, small: numpy.ndarray | None = None) -> ImageReview:
    """Check an image as the network sees it.

    Args:
      image: uint8 [S, S, 3], RGB.
      card: the model, which knows what its training images looked like.
      small: see cell_features.measure.
    """
    background = color_stats.background_color(image)
    remark = color_stats.domain_shift_warning(image, card.colours, background)
    found = image_check.check_image(image, _limit(card), background, small)
    return ImageReview((*found, *[outcome.UNLIKE_TRAINING] * bool(remark)), remark)


def _limit(card: ModelCard) -> float:
    if card.image_check:
        return card.image_check["limit"]
    # An older card. A model of drawings cannot ask for photographs.
    return 0.0 if card.synthetic else image_check.DEFAULT_LIMIT
