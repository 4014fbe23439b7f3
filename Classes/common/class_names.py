"""What people read instead of the name of a class folder."""

from Classes.common.translation import gettext as _


def class_title(name: str, positive: str) -> str:
    """Return the title of a class: its name, or "ALL" or "not ALL" for a folder that is only numbered.

    Args:
      name: of the class, such as "0" or "healthy".
      positive: name of the class that means ALL.
    """
    if not name.isdecimal():
        return name
    return _("ALL") if name == positive else _("not ALL")
