"""What hypothesis makes of a JSON document: one with something else in one place, and files with damage."""

import copy
import os

import hypothesis
from hypothesis import strategies

# ALL_EXAMPLES=50 pytest tests/imaging/test_properties.py tries 50 times as many examples, different ones each time.
TIMES = int(os.environ.get("ALL_EXAMPLES", "1"))

# Every character, halves of one and control characters among them.
TEXTS = strategies.text(strategies.characters(exclude_categories=()), max_size=8)
EDGES = strategies.sampled_from(
    [0, -1, 0.5, 1e308, -1e308, 2**63, 10**30, "", "\0", "\ud800", ".", "..", "/", "a\nb", "é" * 80, [], {}, None, True]
)
NUMBERS = strategies.integers() | strategies.floats(allow_nan=False, allow_infinity=False)
VALUES = EDGES | strategies.recursive(
    strategies.none() | strategies.booleans() | NUMBERS | TEXTS,
    lambda inner: strategies.lists(inner, max_size=3) | strategies.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)


def steady(examples):
    """Settings for a number of examples: the same ones in every run, however slow the machine."""
    return hypothesis.settings(
        max_examples=examples * TIMES,
        derandomize=TIMES == 1,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )


def places(document, before=()):
    """Every place of a document, as a tuple of keys."""
    found = [before] if before else []
    if isinstance(document, dict):
        for key in document:
            found += places(document[key], (*before, key))
    elif isinstance(document, list):
        for index in range(len(document)):
            found += places(document[index], (*before, index))
    return found


@strategies.composite
def mutated(draw, document):
    """The document with another value in one or two places, or with a key or an entry less."""
    document = copy.deepcopy(document)
    for _ in range(draw(strategies.integers(1, 2))):
        *path, last = draw(strategies.sampled_from(places(document)))
        parent = document
        for key in path:
            parent = parent[key]
        if draw(strategies.integers(0, 4)):
            parent[last] = draw(VALUES)
        else:
            del parent[last]
        if not places(document):
            break
    return document


@strategies.composite
def damaged(draw, content):
    """Bytes of a file with one to three of them changed, or its end cut off."""
    if draw(strategies.booleans()):
        return content[: draw(strategies.integers(0, len(content) - 1))]
    found = bytearray(content)
    for _ in range(draw(strategies.integers(1, 3))):
        place = draw(strategies.integers(0, len(content) - 1))
        found[place] ^= draw(strategies.integers(1, 255))
    return bytes(found)
