"""Read the configuration's schema: its sections, keys and their older names.

Imports only the standard library, so that --help works before the packages are installed.
"""

import dataclasses
import functools
import json
import textwrap
from typing import Any

from Classes.common.paths import PROJECT

# In the default of a key: the short name of `Condition`.
CONDITION = "{condition}"

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

    @property
    def names_condition(self) -> bool:
        """Whether the value may contain {condition}."""
        return CONDITION in str(self.rule.get("default"))


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


def describe_keys(script: str) -> str:
    """Return the keys that an entry script reads, by section, with default and meaning, as text for --help."""
    lines = []
    for section, group in sections().items():
        read = [key for key in group.values() if script in key.rule.get("scripts", [])]
        if read:
            lines += ["", f"{section}: {read_schema()['properties'][section]['description']}"]
        for key in read:
            lines.append(f"  {key.name}={json.dumps(key.rule['default'], ensure_ascii=False)}")
            lines += textwrap.wrap(key.rule["description"], 100, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return f"configuration keys of {script}.py, with their defaults:\n" + "\n".join(lines) + "\n"
