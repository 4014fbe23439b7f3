"""Check before a prediction whether an image is one that the model can judge."""

import dataclasses

import numpy

from Classes.common import outcome
from Classes.imaging import cell_features, color_stats, image_check
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


def review_features(small: numpy.ndarray, card: ModelCard) -> numpy.ndarray | None:
    """Return what `review_image` needs of a small image; None if the model does not need it.

    Args:
      small: see network_input.CentralSquare.
      card: the model.
    """
    return cell_features.measure_small(small) if _limit(card) > 0 else None


def review_image(image: numpy.ndarray, card: ModelCard, features: numpy.ndarray | None = None) -> ImageReview:
    """Check an image as the network sees it.

    Args:
      image: uint8 [S, S, 3], RGB.
      card: the model, which knows what its training images looked like.
      features: `review_features` of the image, if that is known already.
    """
    remark = color_stats.domain_shift_warning(image, card.colours)
    found = image_check.check_image(image, _limit(card), features)
    return ImageReview((*found, *[outcome.UNLIKE_TRAINING] * bool(remark)), remark)


def _limit(card: ModelCard) -> float:
    if card.image_check:
        return card.image_check["limit"]
    # An older card. A model of drawings cannot ask for photographs.
    return 0.0 if card.synthetic else image_check.DEFAULT_LIMIT
