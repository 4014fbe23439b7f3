"""Find images of one picture under several names, so that they are neither in two splits nor have two labels."""

import collections
import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy

from Classes.common import parallel
from Classes.common.config import Configuration
from Classes.common.errors import ImageError
from Classes.dataset import crop_descriptors, grouping, overlapping_crops, perceptual_hash
from Classes.dataset.decode_task import THUMBNAIL_SIDE
from Classes.dataset.descriptor_store import DescriptorStore
from Classes.dataset.image_records import ImageRecord
from Classes.imaging import decode

# Pairs that are aligned before `wanted` is evaluated again.
BATCH = 64

log = logging.getLogger("Data")

Record = TypeVar("Record", bound=ImageRecord)

# Two indices of a list of records.
Edge = tuple[int, int]


def relate(
    records: Sequence[ImageRecord], tests: Sequence[ImageRecord], pattern: str, store: DescriptorStore
) -> list[dict[str, Any]]:
    """Number the pictures of all images, and merge groups that share a picture.

    Images show one picture if they have the same content, if their fingerprints match (also rotated, mirrored or
    re-encoded), or if one is named as a view of the other.

    Args:
      records: images of the class folders; `group` and `picture` are changed in place.
      tests: test images; changed too, so that whatever belongs to a test image is in its group.
      pattern: configuration key `GroupPattern`; "": equal names of a test image and another mean nothing.
      store: descriptors of all images.
    Returns:
      [{"files", "similarity"}] of pairs of `records` that are near duplicates and were in different groups; only as
      many as connect all images of a picture.
    """
    everything = [*records, *tests]
    pairs = _matching_fingerprints(everything, store)
    edges = [*_same_content(everything), *((one, other) for one, other, _ in pairs), *_same_source(records)]
    for record, picture in zip(everything, _components(len(everything), edges), strict=True):
        record.picture = int(picture)
    found = [
        {"files": [everything[one].filename, everything[other].filename], "similarity": round(similarity, 3)}
        for one, other, similarity in pairs
        if one < other < len(records) and everything[one].group != everything[other].group
    ]
    _merge_groups(records, tests, pattern)
    return found


def _same_content(records: Sequence[ImageRecord]) -> list[Edge]:
    latest: dict[str, int] = {}
    edges = []
    for index, record in enumerate(records):
        if record.sha256 in latest:
            edges.append((latest[record.sha256], index))
        latest[record.sha256] = index
    return edges


def _matching_fingerprints(records: Sequence[ImageRecord], store: DescriptorStore) -> list[tuple[int, int, float]]:
    """Return (index, index, similarity) of records with matching fingerprints; one record per content is compared."""
    first: dict[str, int] = {}
    for index, record in enumerate(records):
        if record.described >= 0:
            first.setdefault(record.sha256, index)
    indices = list(first.values())
    fingerprints = store.fingerprints_of([records[index].described for index in indices])
    pairs = perceptual_hash.matching_pairs(fingerprints, enough=True)
    return [(indices[one], indices[other], similarity) for one, other, similarity in pairs]


def _same_source(records: Sequence[ImageRecord]) -> list[Edge]:
    """Connect the views of a source image, by their names, with the source image and each other."""

    def source(record: ImageRecord) -> tuple[str, str]:
        return record.class_name, grouping.base_stem(record.file).lower()

    with_views = {source(record) for record in records if grouping.is_augmented_view(record.file)}
    if not with_views:
        return []
    by_source = collections.defaultdict(list)
    for index, record in enumerate(records):
        if (key := source(record)) in with_views:
            by_source[key].append(index)
    return [edge for indices in by_source.values() for edge in itertools.pairwise(indices)]


def _components(count: int, edges: Sequence[Edge]) -> numpy.ndarray:
    """Return the number of the connected component of each of `count` nodes, int [count]."""
    from scipy import sparse

    nodes = numpy.array(edges, int).reshape(-1, 2).T
    graph = sparse.coo_matrix((numpy.ones(len(edges)), tuple(nodes)), (count, count))
    return sparse.csgraph.connected_components(graph, directed=False)[1]


def _merge_groups(records: Sequence[ImageRecord], tests: Sequence[ImageRecord], pattern: str) -> None:
    everything = [*records, *tests]
    # Sets only of pictures and sources with several groups, because most images have their own.
    first: dict[int, str] = {}
    connected = [
        {first[record.picture], record.group}
        for record in everything
        if first.setdefault(record.picture, record.group) != record.group
    ]
    tests_of = collections.defaultdict(list)
    for test in tests if pattern else ():
        tests_of[grouping.source_image_key(test.filename, pattern)].append(test.group)
    for record in records if tests_of else ():
        if groups := tests_of.get(grouping.source_image_key(record.filename, pattern)):
            connected.append({record.group, *groups})
    merged = grouping.merge_groups(itertools.chain(connected, ({record.group} for record in everything)))
    for record in everything:
        record.group = merged[record.group]


def relate_crops(
    configuration: Configuration,
    records: Sequence[ImageRecord],
    tests: Sequence[ImageRecord],
    store: DescriptorStore,
) -> list[dict[str, Any]]:
    """Merge groups whose images are shifted or overlapping crops of one picture.

    Their labels may differ, because two crops of one slide can show different cells in their centers. So none is left
    out.

    Args:
      configuration: Configuration.
      records: images of the class folders, after `relate`; `group` is changed in place.
      tests: test images; changed too.
      store: descriptors of all images.
    Returns:
      [{"files", "similarity", "crops": True}] of pairs of `records`; only as many as connect the groups.
    """
    everything = [*records, *tests]
    chosen = [record for record in everything if record.described >= 0 and not grouping.is_augmented_view(record.file)]
    # {group: the one that it has joined}
    joined: dict[str, str] = {}

    def group_of(record: ImageRecord) -> str:
        """Return the group of an image, which it takes over."""
        while record.group in joined:
            record.group = joined[record.group]
        return record.group

    of_tests, found = {id(record) for record in tests}, []
    pairs = overlapping(configuration, chosen, store, lambda one, other: group_of(one) != group_of(other))
    for one, other, correlation in pairs:
        groups = {group_of(one), group_of(other)}
        if len(groups) == 1:
            continue
        if of_tests.isdisjoint((id(one), id(other))):
            found.append({"files": [one.filename, other.filename], "similarity": round(correlation, 3), "crops": True})
        joined |= {group: name for group, name in grouping.merge_groups([groups]).items() if group != name}
    for record in everything:
        group_of(record)
    return found


def overlapping(
    configuration: Configuration,
    records: Sequence[Record],
    store: DescriptorStore,
    wanted: Callable[[Record, Record], bool],
) -> Iterator[tuple[Record, Record, float]]:
    """Yield pairs of images that are shifted or overlapping crops of one picture.

    Args:
      configuration: Configuration.
      records: have descriptors in `store`; the files of candidates are decoded again.
      store: their descriptors.
      wanted: returns whether a pair is of interest; evaluated again after every BATCH pairs.
    Yields:
      (record, record, correlation of the fine detail over the overlap).
    """
    limits = decode.decode_limits(configuration)

    def read(record: Record) -> numpy.ndarray:
        return decode.decode_thumbnail(record.path, THUMBNAIL_SIDE, limits)[1]

    def compare(one: Record, other: Record) -> float:
        try:
            return overlapping_crops.correlation(read(one), read(other))
        except ImageError:
            # The file has changed since it was first read; write_shards reports that.
            return 0.0

    # Plain discs all match each other, so an image of one is left out of all further pairs.
    is_round: dict[int, bool] = {}

    def is_distinct(record: Record) -> bool:
        """Return whether an image is readable and not a plain disc."""
        if id(record) not in is_round:
            try:
                is_round[id(record)] = overlapping_crops.is_round(read(record))
            except ImageError:
                is_round[id(record)] = True
        return not is_round[id(record)]

    crops, owners = store.crops_of([record.described for record in records])
    candidates = crop_descriptors.similar_pairs(crops, owners)
    pairs = ((records[one], records[other]) for one, other in candidates)
    while batch := list(itertools.islice(pairs, BATCH)):
        work = [pair for pair in batch if wanted(*pair) and not any(is_round.get(id(record)) for record in pair)]
        found = list(parallel.map_threads(compare, work, configuration.workers))
        for (one, other), correlation in zip(work, found, strict=True):
            # Both are checked, so that all discs of a batch are known after it.
            if correlation >= overlapping_crops.SAME and all([is_distinct(one), is_distinct(other)]):
                yield one, other, correlation


def without_conflicts(records: Sequence[ImageRecord]) -> tuple[list[ImageRecord], list[dict[str, Any]]]:
    """Leave out every picture that is in several classes, with all its copies and views.

    Args:
      records: after `relate`.
    Returns:
      (records that stay, [{"files", "classes"}] of each picture that is left out).
    """
    by_picture = collections.defaultdict(list)
    for record in records:
        by_picture[record.picture].append(record)
    conflicts = []
    for same in by_picture.values():
        first: dict[str, str] = {}
        for record in sorted(same, key=lambda record: record.filename):
            first.setdefault(record.class_name, record.filename)
        if len(first) == 1:
            continue
        conflicts.append({"files": sorted(record.filename for record in same), "classes": sorted(first)})
        examples = ", ".join(first[name] for name in sorted(first))
        log.warning("Left out: one image in several classes: %s (%d files)", examples, len(same))
    out = {file for conflict in conflicts for file in conflict["files"]}
    kept = [record for record in records if record.filename not in out]
    return kept, sorted(conflicts, key=lambda each: each["files"])
