"""What people read instead of the name of a class folder."""

from collections.abc import Sequence

from Classes.common.conditions import Condition


def class_title(name: str, positive: Sequence[str], condition: Condition) -> str:
    """Return the title of a class: its name, or "ALL" or "not ALL" for a folder that is only numbered.

    Args:
      name: of the class, such as "0" or "healthy".
      positive: names of the classes that mean the condition.
      condition: what is detected.
    """
    if not name.isdecimal():
        return name
    return condition.class_title(name in positive)
