"""Read the configuration's schema: its sections, keys and their older names.

Imports only the standard library, so that --help works before the packages are installed.
"""

import dataclasses
import functools
import json
from typing import Any

from Classes.common.paths import PROJECT

SCHEMA = PROJECT / "Required" / "confs.schema.json"


@dataclasses.dataclass(frozen=True)
class Key:
    """A key of the configuration.

    Attributes:
      rule: its JSON schema, with `description` and `default`; `aliases` are older names, `complement` is an older name
        whose value was 1 minus this one, `scripts` are the entry scripts that read the key.
    """

    name: str
    section: str
    rule: dict[str, Any]

    @property
    def has_effect(self) -> bool:
        """False for a key that older configurations hold and nothing reads."""
        return not self.rule.get("deprecated", False)


@functools.cache
def read_schema() -> dict[str, Any]:
    """Return the JSON schema."""
    return json.loads(SCHEMA.read_text(encoding="utf-8"))


@functools.cache
def sections() -> dict[str, dict[str, Key]]:
    """Return the keys of every section by their current names, in the order of the schema."""
    return {
        section: {name: Key(name, section, rule) for name, rule in group["properties"].items()}
        for section, group in read_schema()["properties"].items()
        if not group.get("deprecated")
    }


@functools.cache
def older_sections() -> frozenset[str]:
    """Return the sections of older configurations, which may hold any key."""
    return frozenset(name for name, group in read_schema()["properties"].items() if group.get("deprecated"))


@functools.cache
def keys() -> dict[str, Key]:
    """Return every key by its current and its older names; a name stands in one section only."""
    found: dict[str, Key] = {}
    for group in sections().values():
        for name, key in group.items():
            older = [*key.rule.get("aliases", []), *filter(None, [key.rule.get("complement")])]
            found.update(dict.fromkeys([name, *older], key))
    return found
