"""`--scale`: the scale of photographs, in micrometers per pixel."""

import argparse

from Classes.common.translation import gettext as _

# Scales of photographs through a microscope: objectives of 10x to 100x and cameras of 1.5 to 10 µm per pixel.
LOWEST, HIGHEST = 0.02, 1.2


def parse_scale(text: str) -> float:
    """Return a scale in micrometers per pixel; for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    # NaN fails both comparisons.
    if not LOWEST <= value <= HIGHEST:
        message = _("{text}: expected {low} to {high} micrometers per pixel")
        raise argparse.ArgumentTypeError(message.format(text=text, low=LOWEST, high=HIGHEST))
    return value
