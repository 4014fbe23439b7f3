"""The split depends only on names and seed, is near its fraction, and never shares a group."""

import itertools
import random
import types

import pytest

from Classes.common.errors import DataError
from Classes.dataset import splitting


def singles(count, classes=("0", "1"), prefix="g"):
    return {f"{prefix}{number}": {classes[number % len(classes)]: 1} for number in range(count)}


def share(groups, sides, name):
    counts = {
        side: sum(groups[group].get(name, 0) for group in groups if sides[group] == side) for side in splitting.SPLITS
    }
    return counts["validation"] / sum(counts.values())


def test_every_group_has_a_side_and_both_classes_their_share():
    groups = singles(600)

    sides = splitting.split_groups(groups, 0.3, 50)

    assert set(sides) == set(groups)
    assert set(sides.values()) == {"train", "validation"}
    for name in ("0", "1"):
        assert share(groups, sides, name) == pytest.approx(0.3, abs=0.05)


def test_the_order_in_which_groups_come_does_not_matter():
    groups = singles(40)
    turned = dict(reversed(groups.items()))

    assert splitting.split_groups(groups, 0.3, 50) == splitting.split_groups(turned, 0.3, 50)


def test_another_seed_is_another_split():
    groups = singles(100)

    assert splitting.split_groups(groups, 0.3, 50) != splitting.split_groups(groups, 0.3, 51)


def test_added_groups_do_not_change_the_split_of_others():
    before = singles(1000)
    after = {**before, **singles(700, prefix="new")}

    old, new = splitting.split_groups(before, 0.3, 50), splitting.split_groups(after, 0.3, 50)

    assert all(new[name] == side for name, side in old.items())


@pytest.mark.parametrize("size", [0.1, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("count", [40, 200])
def test_small_sets_are_brought_near_the_share_with_few_moves(count, size):
    for seed in range(30):
        groups = singles(count)
        sides = splitting.split_groups(groups, size, seed)
        by_hash = {name: splitting.SPLITS[splitting.hash_to_unit_interval(name, seed) < size] for name in groups}
        moved = {name for name in groups if sides[name] != by_hash[name]}
        for name in ("0", "1"):
            mine = [group for group in groups if name in groups[group]]
            assert share(groups, sides, name) == pytest.approx(size, abs=splitting.TOLERANCE + 1e-9)
            # As many as it takes: one less, and the class were too far off.
            here = [group for group in mine if group in moved]
            if here:
                assert len({sides[group] for group in here}) == 1
                back = -1 if sides[here[0]] == "validation" else 1
                assert abs(share(groups, sides, name) + back / len(mine) - size) > splitting.TOLERANCE
                # And those whose numbers are nearest to the limit.
                far = max(abs(splitting.hash_to_unit_interval(group, seed) - size) for group in here)
                stayed = [group for group in mine if group not in moved and by_hash[group] == by_hash[here[0]]]
                assert all(abs(splitting.hash_to_unit_interval(group, seed) - size) >= far for group in stayed)


@pytest.mark.parametrize("size", [0.01, 0.3, 0.99])
def test_two_groups_a_class_are_one_on_each_side(size):
    for seed in range(20):
        sides = splitting.split_groups({"a": {"0": 5}, "b": {"0": 1}, "c": {"1": 1}, "d": {"1": 9}}, size, seed)
        assert sides["a"] != sides["b"]
        assert sides["c"] != sides["d"]


def test_no_class_misses_on_a_side_where_that_can_be():
    """Small cases against trying every division."""
    dice = random.Random(3)
    outcomes = set()
    for case in range(300):
        classes = ["0", "1", "2"][: dice.choice([2, 2, 3])]
        groups = {
            f"{case} {number}": {name: dice.choice([1, 2, 20]) for name in dice.sample(classes, dice.choice([1, 1, 2]))}
            for number in range(dice.randint(2, 6))
        }
        present = {name for counts in groups.values() for name in counts}

        def both_sides(validation, groups=groups, present=present):
            there = {name for group in validation for name in groups[group]}
            here = {name for group in groups if group not in validation for name in groups[group]}
            return there == here == present

        possible = any(
            both_sides(chosen) for size in range(len(groups)) for chosen in itertools.combinations(groups, size)
        )
        try:
            sides = splitting.split_groups(groups, 0.3, 50)
        except DataError:
            found = False
        else:
            found = both_sides([group for group in groups if sides[group] == "validation"])
            assert found
        assert found == possible
        outcomes.add(found)
    assert outcomes == {True, False}


def test_a_class_of_one_original():
    groups = {"original a": {"1": 40}, "original b": {"0": 1}, "original c": {"0": 1}}

    with pytest.raises(DataError, match=r"class 1.*original a") as caught:
        splitting.split_groups(groups, 0.3, 50)
    assert caught.value.code == "class_in_one_split"


def test_assert_disjoint_counts_and_rejects():
    def item(group, sha256, picture):
        return types.SimpleNamespace(group=group, sha256=sha256, picture=picture)

    splits = {
        "train": [item("a", "1", 10), item("a", "2", 10)],
        "validation": [item("b", "3", 11)],
        "test": [item("c", "4", 12)],
    }
    assert splitting.assert_disjoint(splits) == {
        "group": {"train": 1, "validation": 1, "test": 1, "in_both": []},
        "sha256": {"train": 2, "validation": 1, "test": 1, "in_both": []},
        "picture": {"train": 1, "validation": 1, "test": 1, "in_both": []},
    }
    for wrong in (item("a", "5", 13), item("d", "1", 13), item("d", "5", 10)):
        for split in ("validation", "test"):
            with pytest.raises(DataError) as caught:
                splitting.assert_disjoint({**splits, split: [wrong]})
            assert caught.value.code == "split_overlap"


def test_another_spelling_of_a_patient_does_not_move_it():
    groups = singles(40)

    sides = [splitting.split_groups({**groups, f"patient {name}": {"0": 1}}, 0.3, 50) for name in ("P07", "p7", "P-7")]

    assert len({side for each in sides for name, side in each.items() if name.startswith("patient")}) == 1
