"""The classes of a model: which of them mean disease, which form a coarser group, and which are counted.

NumPy is imported late, because the client, which needs none, reads the configuration too.
"""

import dataclasses
import functools
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from Classes.common.errors import ConfigurationError
from Classes.common.translation import Message

if TYPE_CHECKING:
    import numpy

    from Classes.common.config import Configuration


@dataclasses.dataclass(frozen=True)
class ClassScheme:
    """The classes of a model or of a data set.

    Attributes:
      names: class names in the order of the network's outputs.
      positive: the classes that mean disease, in the order of `names`; empty in a model that detects nothing.
      groups: {group: its classes}; a class in no group is a group of its own.
      counted: the classes that enter counts, in the order of `names`.
    """

    names: tuple[str, ...]
    positive: tuple[str, ...] = ()
    groups: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    counted: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # Equal schemes have equal fields, whatever the order in a configuration.
        ordered = tuple(name for name in self.names if name in self.positive)
        counted = tuple(name for name in self.names if not self.counted or name in self.counted)
        object.__setattr__(self, "positive", ordered)
        object.__setattr__(self, "counted", counted)
        object.__setattr__(self, "groups", {group: tuple(types) for group, types in self.groups.items()})

    @functools.cached_property
    def positive_indices(self) -> list[int]:
        """The outputs of the network that mean disease."""
        return [self.names.index(name) for name in self.positive]

    @functools.cached_property
    def negative_indices(self) -> list[int]:
        """The other outputs of the network."""
        return [index for index, name in enumerate(self.names) if name not in self.positive]

    @functools.cached_property
    def group_names(self) -> tuple[str, ...]:
        """The groups in the order of their first class; without groups, the classes."""
        return tuple(dict.fromkeys(map(self.group_of, self.names)))

    @functools.cached_property
    def _group_of(self) -> dict[str, str]:
        return {name: group for group, types in self.groups.items() for name in types}

    @property
    def several(self) -> bool:
        """Whether there is more to say about an image than disease or not: several classes on a side, or none is."""
        return len(self.names) > 2 or not self.positive

    def is_positive(self, name: str) -> bool:
        """Return whether a class, or all classes of a group, mean disease."""
        return name in self.positive or (name in self.groups and set(self.groups[name]) <= set(self.positive))

    def group_of(self, name: str) -> str:
        """Return the group of a class, which is the class itself if it is in none."""
        return self._group_of.get(name, name)

    def members(self, group: str) -> list[int]:
        """Return the outputs of the network that form a group."""
        return [index for index, name in enumerate(self.names) if self.group_of(name) == group]

    def are_positive(self, labels: Any) -> "numpy.ndarray":
        """Return which labels mean disease.

        Args:
          labels: int [N], indices of `names`.
        Returns:
          bool [N].
        """
        import numpy

        return numpy.isin(numpy.asarray(labels, int), self.positive_indices)

    def positive_probability(self, probabilities: Any) -> Any:
        """Return the probability of disease: the sum of the positive classes, at most 1.

        Args:
          probabilities: float [..., K].
        Returns:
          float [...] of the same type; with one positive class, exactly its column.
        """
        return sum_columns(probabilities, self.positive_indices)

    def side_probability(self, probabilities: Any, positive: bool) -> Any:
        """Return the summed probability, float [...], of the classes that mean disease, or of the others."""
        indices = self.positive_indices if positive else self.negative_indices
        return sum_columns(probabilities, indices)

    def group_probabilities(self, probabilities: Any) -> "numpy.ndarray":
        """Return the summed probabilities, float [..., G] in the order of `group_names`, of float [..., K]."""
        import numpy

        return numpy.stack([sum_columns(probabilities, self.members(group)) for group in self.group_names], axis=-1)

    def most_likely(self, probabilities: Any, among: Sequence[int] | None = None) -> int:
        """Return the most likely class of the most likely group, so that class and group never contradict each other.

        Args:
          probabilities: float [K].
          among: outputs to choose from; None: all. Groups are whole on either side, see `from_configuration`.
        """
        allowed = range(len(self.names)) if among is None else among
        members: dict[str, list[int]] = {}
        for index in allowed:
            members.setdefault(self.group_of(self.names[index]), []).append(index)
        best = max(members.values(), key=lambda indices: sum_columns(probabilities, indices))
        return max(best, key=probabilities.__getitem__)


def sum_columns(probabilities: Any, indices: Sequence[int]) -> Any:
    """Return the sum of some of the probabilities float [..., K], at most 1; exactly the column if it is one."""
    import numpy

    values = numpy.asarray(probabilities)
    if len(indices) == 1:
        return values[..., indices[0]]
    # Rounded sums of a softmax can exceed 1 by a few units of the last place.
    return numpy.minimum(values[..., list(indices)].sum(axis=-1), values.dtype.type(1))


def as_names(value: str | Sequence[str]) -> tuple[str, ...]:
    """Return the classes that `PositiveClass`, or `positive` of a model card, names: a text, a list, or none."""
    if isinstance(value, str):
        return (value,) if value else ()
    return tuple(value)


def class_name(folder: str) -> str:
    """Return the class that a folder name means: composed (NFC), because some systems decompose accented letters."""
    return unicodedata.normalize("NFC", folder)


def configured_positive(configuration: "Configuration") -> tuple[str, ...]:
    """Return the classes that `PositiveClass` names."""
    return tuple(map(class_name, as_names(configuration["PositiveClass"])))


def configured_groups(configuration: "Configuration") -> dict[str, tuple[str, ...]]:
    """Return {group: classes} that `ClassGroups` names."""
    given = configuration["ClassGroups"]
    return {class_name(group): tuple(map(class_name, types)) for group, types in given.items()}


def configured_counted(configuration: "Configuration") -> tuple[str, ...]:
    """Return the classes that `CountedClasses` names; empty means all."""
    return tuple(map(class_name, configuration["CountedClasses"]))


def as_json(names: Sequence[str]) -> str | list[str]:
    """Return the inverse of `as_names`: a text for one class or none, otherwise a list."""
    if len(names) < 2:
        return names[0] if names else ""
    return list(names)


def format_names(names: Sequence[str]) -> str:
    """Return classes as text for a message or a log: "1", or "Pre-B, Pro-B"."""
    return ", ".join(names)


def find_error(
    names: Sequence[str], positive: Sequence[str], groups: Mapping[str, Sequence[str]], counted: Sequence[str]
) -> ConfigurationError | None:
    """Return why these keys do not describe a scheme of the classes `names`, or None.

    The codes are `unknown_class`, `all_positive`, `class_in_two_groups`, `group_name` and `mixed_group`.
    """
    listed = format_names(names)
    for key, given in (("PositiveClass", positive), ("CountedClasses", counted), *_named_groups(groups)):
        unknown = [name for name in given if name not in names]
        if unknown:
            return ConfigurationError(
                Message(
                    "{key} names the class {unknown}, but the classes are: {listed}. Write the name of a class folder.",
                    key=key, unknown=unknown[0], listed=listed,
                ),
                "unknown_class",
            )  # fmt: skip
    if positive and set(positive) == set(names):
        return ConfigurationError(
            Message(
                "PositiveClass names all classes: {listed}. Leave out the classes that show no disease.", listed=listed
            ),
            "all_positive",
        )
    checks: tuple[Callable[..., ConfigurationError | None], ...] = (_check_overlap, _check_group_names, _check_mixed)
    return next(filter(None, (check(names, positive, groups) for check in checks)), None)


def _named_groups(groups: Mapping[str, Sequence[str]]) -> list[tuple[str, Sequence[str]]]:
    return [(f"ClassGroups.{group}", types) for group, types in groups.items()]


def _check_overlap(
    _names: Sequence[str], _positive: Sequence[str], groups: Mapping[str, Sequence[str]]
) -> ConfigurationError | None:
    first: dict[str, str] = {}
    for group, types in groups.items():
        for name in dict.fromkeys(types):
            if first.setdefault(name, group) != group:
                return ConfigurationError(
                    Message(
                        "ClassGroups: the class {name} is in {first} and in {second}. A class can be in one group.",
                        name=name, first=first[name], second=group,
                    ),
                    "class_in_two_groups",
                )  # fmt: skip
    return None


def _check_group_names(
    names: Sequence[str], _positive: Sequence[str], groups: Mapping[str, Sequence[str]]
) -> ConfigurationError | None:
    for group, types in groups.items():
        if group in names and group not in types:
            return ConfigurationError(
                Message(
                    "ClassGroups: the group {group} has the name of a class that is not in it. Give it another name.",
                    group=group,
                ),
                "group_name",
            )
    return None


def _check_mixed(
    _names: Sequence[str], positive: Sequence[str], groups: Mapping[str, Sequence[str]]
) -> ConfigurationError | None:
    """Refuse a group on both sides: its result could not be reconciled with disease or not."""
    for group, types in groups.items():
        inside = [name for name in types if name in positive]
        outside = [name for name in types if name not in positive]
        if positive and inside and outside:
            return ConfigurationError(
                Message(
                    "ClassGroups: {group} contains {inside}, which is in PositiveClass, and {outside}, which is not. "
                    "Put them into different groups.",
                    group=group, inside=inside[0], outside=outside[0],
                ),
                "mixed_group",
            )  # fmt: skip
    return None


def from_configuration(configuration: "Configuration", names: Sequence[str]) -> ClassScheme:
    """Return the scheme that `PositiveClass`, `ClassGroups` and `CountedClasses` give to classes.

    Raises:
      ConfigurationError: see `find_error`.
    """
    positive = configured_positive(configuration)
    groups, counted = configured_groups(configuration), configured_counted(configuration)
    error = find_error(names, positive, groups, counted)
    if error is not None:
        raise error
    return ClassScheme(tuple(names), positive, groups, counted)
