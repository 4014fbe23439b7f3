"""Images that show one picture under several names, so that it cannot be in two splits or have two labels."""

import collections
import itertools
import logging

import numpy

from Classes.dataset import grouping, perceptual_hash

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
    """Release the fingerprints, which nothing needs after the split: 1 KB per image."""
    for item in items:
        item.fingerprint = None
