"""Images that show one picture under several names, so that it cannot be in two splits or have two labels."""

import collections
import itertools
import logging

import numpy

from Classes.common import parallel
from Classes.common.errors import ImageError
from Classes.dataset import grouping, overlapping_crops, perceptual_hash
from Classes.dataset.image_records import THUMBNAIL_SIDE
from Classes.imaging import decode

# Pairs that are aligned before what they connect is taken into account.
BATCH = 64

log = logging.getLogger("Data")


def relate(items, tests, pattern):
    """Find the images of one picture, and make one group of groups that share one.

    Images show one picture if they have the same content, if their fingerprints say so (turned, mirrored or saved
    again), or if one is named as a view of the other. Test images take part, so that whatever belongs to one is in its
    group.

    Args:
      items: list of Data.ImageRecord; `group` and `picture` are changed in place.
      tests: the same of the test images.
      pattern: configuration key `GroupPattern`.
    Returns:
      [{"files", "similarity"}] of pairs of `items` that look alike and were of different groups; as many pairs as
      connect all images of one picture.
    """
    everything = [*items, *tests]
    edges, pairs = _same_content(everything), _look_alike(everything)
    edges += [(one, other) for one, other, _ in pairs] + _views(items)
    for item, picture in zip(everything, _components(len(everything), edges), strict=True):
        item.picture = int(picture)
    alike = [
        {"files": [everything[one].filename, everything[other].filename], "similarity": round(similarity, 3)}
        for one, other, similarity in pairs
        if one < other < len(items) and everything[one].group != everything[other].group
    ]
    _merge_groups(items, tests, pattern)
    return alike


def _same_content(items):
    by_content = collections.defaultdict(list)
    for place, item in enumerate(items):
        by_content[item.sha256].append(place)
    return [pair for places in by_content.values() for pair in itertools.pairwise(places)]


def _look_alike(items):
    """(place, place, similarity) of items by their fingerprints, every content once."""
    first = {}
    for place, item in enumerate(items):
        if item.fingerprint is not None:
            first.setdefault(item.sha256, place)
    places = list(first.values())
    if not places:
        return []
    pairs = perceptual_hash.matching_pairs([items[place].fingerprint for place in places], enough=True)
    return [(places[one], places[other], similarity) for one, other, similarity in pairs]


def _views(items):
    """Pairs of places that connect the views of a source image, by their names, with it and each other."""
    by_source = collections.defaultdict(list)
    for place, item in enumerate(items):
        by_source[item.class_name, grouping.base_stem(item.path.name).lower()].append(place)
    groups = (
        places
        for places in by_source.values()
        if any(grouping.is_augmented_view(items[place].path.name) for place in places)
    )
    return [pair for places in groups for pair in itertools.pairwise(places)]


def _components(count, edges):
    """int [count]: the number of the connected component of each place."""
    from scipy import sparse

    places = numpy.array(edges, int).reshape(-1, 2).T
    graph = sparse.coo_matrix((numpy.ones(len(edges)), tuple(places)), (count, count))
    return sparse.csgraph.connected_components(graph, directed=False)[1]


def _merge_groups(items, tests, pattern):
    companies, originals = collections.defaultdict(set), collections.defaultdict(set)
    for item in (*items, *tests):
        companies[item.picture].add(item.group)
    for item in items:
        originals[grouping.source_image_key(item.filename, pattern)].add(item.group)
    for test in tests:
        companies[test.picture] |= originals.get(grouping.source_image_key(test.filename, pattern), set())
    aliases = grouping.merge_groups(companies.values())
    for item in (*items, *tests):
        item.group = aliases[item.group]


def relate_crops(configuration, items, tests):
    """Make one group of groups whose images are shifted or overlapping crops of one picture.

    Their labels may differ, since two crops of one slide may show different cells in their middles; so nothing is left
    out.

    Args:
      configuration: Configuration.
      items: list of Data.ImageRecord after `relate`; `group` is changed in place.
      tests: the same of the test images.
    Returns:
      [{"files", "similarity", "crops": True}] of pairs of `items`; as many as connect the groups.
    """
    everything = [*items, *tests]
    chosen = [item for item in everything if item.crops is not None and not grouping.is_augmented_view(item.path.name)]
    ours, found = {id(item) for item in items}, []
    pairs = overlapping(configuration, chosen, lambda one, other: one.group != other.group)
    for one, other, correlation in pairs:
        if one.group == other.group:
            continue
        if id(one) in ours and id(other) in ours:
            found.append({"files": [one.filename, other.filename], "similarity": round(correlation, 3), "crops": True})
        aliases = grouping.merge_groups([{one.group, other.group}])
        for item in everything:
            item.group = aliases.get(item.group, item.group)
    return found


def overlapping(configuration, chosen, wanted=lambda one, other: True):
    """Pairs of images that are shifted or overlapping crops of one picture.

    Args:
      configuration: Configuration.
      chosen: list of Data.ImageRecord or audit.AuditRecord; their `crops` are compared, and candidates are read again.
      wanted: of two of them, whether the answer matters; asked again after every BATCH pairs.
    Yields:
      (one, other, correlation of the fine detail over the overlap).
    """

    limits = decode.decode_limits(configuration)

    def read(item):
        return decode.decode_thumbnail(item.path, THUMBNAIL_SIDE, limits)[1]

    def distinct(item):
        try:
            return not overlapping_crops.is_round(read(item))
        except ImageError:
            # It went or changed after it was read first; whoever writes the shards reports that.
            return False

    def agreement(first, second):
        try:
            return first, second, overlapping_crops.correlation(read(first), read(second))
        except ImageError:
            return first, second, 0.0

    pairs = [
        (chosen[one], chosen[other]) for one, other in overlapping_crops.candidates([item.crops for item in chosen])
    ]
    pairs = [pair for pair in pairs if wanted(*pair)]
    # Plain discs all agree with each other, so each is recognised once and not in all of its pairs.
    images = list({id(item): item for pair in pairs for item in pair}.values())
    known = parallel.map_threads(distinct, ((item,) for item in images), configuration.workers)
    usable = {id(item) for item, good in zip(images, known, strict=True) if good}
    pairs = [pair for pair in pairs if usable.issuperset(map(id, pair))]
    for batch in (pairs[start : start + BATCH] for start in range(0, len(pairs), BATCH)):
        work = [pair for pair in batch if wanted(*pair)]
        for found in parallel.map_threads(agreement, work, configuration.workers):
            if found[2] >= overlapping_crops.SAME:
                yield found


def without_conflicts(items):
    """Leave out every picture that lies in several classes, with all its copies and views: no label can be trusted.

    Args:
      items: list of Data.ImageRecord after `relate`.
    Returns:
      (items that stay, [{"files", "classes"}] of each picture that is left out).
    """
    pictures = collections.defaultdict(list)
    for item in items:
        pictures[item.picture].append(item)
    conflicts = []
    for same in pictures.values():
        classes = sorted({item.class_name for item in same})
        if len(classes) > 1:
            conflicts.append({"files": sorted(item.filename for item in same), "classes": classes})
    for conflict in conflicts:
        first = [
            next(file for file in conflict["files"] if file.startswith(f"{name}/")) for name in conflict["classes"]
        ]
        log.warning("Left out: one picture in several classes: %s (%d files)", ", ".join(first), len(conflict["files"]))
    out = {file for conflict in conflicts for file in conflict["files"]}
    return [item for item in items if item.filename not in out], sorted(conflicts, key=lambda each: each["files"])


def drop_descriptors(items):
    """Release the fingerprints and crops, which nothing needs after the split: 2 KB per image."""
    for item in items:
        item.fingerprint = item.crops = None
