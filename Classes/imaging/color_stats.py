"""What colours an image has, and whether they are those that a model was trained on; numpy only."""

import numpy

# ITU-R BT.601: how bright red, green and blue look.
LUMA = numpy.array([0.299, 0.587, 0.114], "float32")

# What is measured of an image, and the words for one that lies below or above the training images.
FEATURES = {
    "background brightness": ("darker background", "brighter background"),
    "background red-blue": ("bluer background", "redder background"),
    "background green-magenta": ("more magenta background", "less magenta background"),
    "nuclei brightness": ("darker nuclei", "paler nuclei"),
    "nuclei red-blue": ("bluer nuclei", "redder nuclei"),
    "nuclei green-magenta": ("more magenta nuclei", "less magenta nuclei"),
    "contrast": ("less contrast", "more contrast"),
}

# Found on 600 real cells: of 163 validation images 2 are remarked on and of 20 test images none, while a twentieth
# more blue, a tenth less light or a changed hue is remarked on in nearly all of them. MARGIN is in levels.
ANCHORS = 32
RADIUS_SCALE = 1.5
MIN_RADIUS = 8.0


def background_color(image):
    """The colour of the empty part of a smear: the most frequent among the brighter half of an image.

    Args:
      image: uint8 [H, W, 3], RGB.
    Returns:
      three whole numbers, 0..255.
    """
    # A hundred places a side are enough, and bound the time for any image.
    height, width = image.shape[:2]
    pixels = image[:: -(-height // 100), :: -(-width // 100)].reshape(-1, 3)
    light = pixels @ LUMA
    # The mean of equal values can round to more than they are.
    bright = light >= min(light.mean(), light.max())
    # Bins of four levels, smoothed, so that noise does not decide which is the fullest.
    counts = numpy.bincount((light[bright] / 4).astype(int), minlength=64)
    fullest = numpy.convolve(counts, [1, 2, 3, 2, 1], "same").argmax()
    near = bright & (numpy.abs(light / 4 - fullest - 0.5) <= 1.5)
    chosen = pixels[near] if near.any() else pixels[bright]
    return tuple(int(value) for value in numpy.median(chosen, axis=0).round())


def color_features(image, empty=None):
    """The colours of an image in a few figures.

    Args:
      image: uint8 [H, W, 3], RGB, the part of it that the network sees.
      empty: `background` of it, where that is known.
    Returns:
      float64 [7] in levels, in the order of MEASURES: of the background and of the darkest parts (nuclei) each the
      brightness, red against blue, green against magenta; then the contrast.
    """
    height, width = image.shape[:2]
    pixels = image[:: -(-height // 150), :: -(-width // 150)].reshape(-1, 3).astype("float32")
    light = pixels @ LUMA
    # A twentieth of the image is nucleus in every smear, whatever the size of the cell.
    count = -(-len(light) // 20)
    darkest = pixels[numpy.argpartition(light, count - 1)[:count]].mean(axis=0)
    empty = numpy.array(empty or background_color(image), "float32")
    return numpy.array([*_opponent_coordinates(empty), *_opponent_coordinates(darkest), light.std()], "float64")


def _opponent_coordinates(colour):
    """Brightness, red against blue, green against magenta."""
    red, green, blue = (float(value) for value in colour)
    return float(colour @ LUMA), red - blue, green - (red + blue) / 2


def fit_reference(measured):
    """What `outside` needs to know of a training set.

    Sets come from several cameras or white balances, so one range a figure would be wide and miss a shift between
    them. ANCHORS images are kept that lie apart and have every other near one of them.

    Args:
      measured: list of `measure`'s answers.
    Returns:
      dict for the model card's field `colours`: {"images": number, "middle": {name: level}, "anchors": [one text of
      seven figures an anchor], "limit": largest distance to the nearest anchor that is no remark}; None where there is
      no image.
    """
    if not len(measured):
        return None
    measured = numpy.asarray(measured, "float64")
    middle = numpy.median(measured, axis=0)
    anchors = [int(_distances(measured, middle).argmin())]
    nearest = _distances(measured, measured[anchors[0]])
    while len(anchors) < min(ANCHORS, len(measured)):
        anchors.append(int(nearest.argmax()))
        nearest = numpy.minimum(nearest, _distances(measured, measured[anchors[-1]]))
    limit = max(MIN_RADIUS, RADIUS_SCALE * float(nearest.max()), _typical_distance(measured))
    return {
        "images": len(measured),
        "middle": {name: round(float(value), 1) for name, value in zip(FEATURES, middle, strict=True)},
        # As text, which keeps an anchor on one line of the card.
        "anchors": [" ".join(f"{value:.1f}" for value in measured[place]) for place in anchors],
        "limit": round(limit, 1),
    }


def _distances(measured, one):
    return numpy.linalg.norm(measured - one, axis=1)


def _typical_distance(measured):
    """How far nearly all images are from their nearest neighbour, which tells how far a new one may be."""
    if len(measured) < 2:
        return 0.0
    neighbours = [numpy.partition(_distances(measured, one), 1)[1] for one in measured]
    return float(numpy.quantile(neighbours, 0.99))


def domain_shift_warning(image, card):
    """In which respects an image's colours are not those of the training images.

    Args:
      image: uint8 [H, W, 3], as the network sees it: decode.decode_and_resize's answer.
      card: Card.
    Returns:
      one sentence for people, or None: near a training image, or a card that knows no colours.
    """
    if not card.colours:
        return None
    anchors = numpy.array([text.split() for text in card.colours["anchors"]], "float64")
    differences = color_features(image) - anchors
    distances = numpy.linalg.norm(differences, axis=1)
    nearest = distances.argmin()
    if distances[nearest] <= card.colours["limit"]:
        return None
    difference = differences[nearest]
    strongest = numpy.argsort(-numpy.abs(difference), kind="stable")
    told = [place for place in strongest[:3] if abs(difference[place]) >= abs(difference[strongest[0]]) / 2]
    words = ", ".join(tuple(FEATURES.values())[place][int(difference[place] > 0)] for place in told)
    return (
        f"The colours are unlike those of the training images: {words}. Another stain, camera or light may make the "
        "verdict wrong."
    )
