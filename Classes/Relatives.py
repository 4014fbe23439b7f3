"""Images that show one picture under several names, so that it cannot stand on both sides of the split."""

import collections
import logging

from Classes import Fingerprints, Groups
from Classes.Errors import DataError

log = logging.getLogger("Data")


def join(items):
    """Make one group of the groups that share a picture, and leave out a picture that lies in several classes.

    Args:
      items: list of Data.Item, every content once; their groups are changed in place.
    Returns:
      (items, [{"files", "similarity"}] of pairs that were of different groups, the same of pictures that lie in several
      classes: none of their labels can be trusted); as many pairs as connect all images of one picture.
    """
    chosen = [item for item in items if item.fingerprint is not None and not Groups.is_view(item.path.name)]
    if not chosen:
        return items, [], []
    pairs = Fingerprints.pairs([item.fingerprint for item in chosen], enough=True)
    companies = Groups.joined({chosen[one].filename, chosen[other].filename} for one, other, _ in pairs)
    labels = collections.defaultdict(set)
    for item in chosen:
        labels[companies.get(item.filename)].add(item.label)
    disputed = {name for name, company in companies.items() if len(labels[company]) > 1}
    alike, contradictions, shared = [], [], []
    for one, other, similarity in pairs:
        one, other = chosen[one], chosen[other]
        pair = {"files": [one.filename, other.filename], "similarity": round(similarity, 3)}
        shared.append({one.group, other.group})
        if one.filename in disputed:
            log.warning("Left out: one picture in several classes: %s", " and ".join(pair["files"]))
            contradictions.append(pair)
        elif one.group != other.group:
            alike.append(pair)
    if alike:
        log.warning(
            "%d pairs of images show one picture, %s and %s the first; each is kept on one side of the split.",
            len(alike),
            *alike[0]["files"],
        )
    joined = Groups.joined(shared)
    for item in items:
        item.group = joined.get(item.group, item.group)
    return [item for item in items if item.filename not in disputed], alike, contradictions


def of(items, fingerprints):
    """The groups of the items that show a picture which others show too.

    Args:
      items: list of Data.Item.
      fingerprints: of the others.
    Returns:
      set of groups.
    """
    chosen = [item for item in items if item.fingerprint is not None]
    if not chosen or not fingerprints:
        return set()
    pairs = Fingerprints.pairs([item.fingerprint for item in chosen], fingerprints)
    return {chosen[one].group for one, _, _ in pairs}


def check(splits, alike):
    """Hold the two sides against each other once more, by what the pictures show.

    Args:
      splits: {"train" and "validation": [Data.Item]}.
      alike: `join`'s pairs; it left views to their names, so they are compared here.
    Raises:
      DataError: a picture would be on both sides.
    """
    side = {item.filename: name for name, items in splits.items() for item in items}
    views = [each for each in splits["train"] if each.fingerprint is not None and Groups.is_view(each.path.name)]
    others = [item for item in splits["validation"] if item.fingerprint is not None]
    found = Fingerprints.pairs([item.fingerprint for item in views], [item.fingerprint for item in others])
    pairs = [(views[one].filename, others[other].filename) for one, other, _ in found]
    for one, other in (*(pair["files"] for pair in alike), *pairs):
        if one in side and other in side and side[one] != side[other]:
            raise DataError(
                f"{one} would be in {side[one]} and {other} in {side[other]}, though they show one picture; remove one "
                "of them"
            )


def forget(items):
    """Let go of the fingerprints, which nothing after the split asks for: 1 KB an image."""
    for item in items:
        item.fingerprint = None
