"""Write the README's configuration table anew, from the schema.

python3 docs/configuration_table.py
"""

import json
import pathlib

PROJECT = pathlib.Path(__file__).resolve().parent.parent
README = PROJECT / "README.md"
SCHEMA = PROJECT / "Required" / "confs.schema.json"
HEAD = "| key | default | meaning |\n|---|---|---|\n"


def table() -> str:
    """Return a Markdown table of every key, its default and its meaning, by section."""
    groups = json.loads(SCHEMA.read_text(encoding="utf-8"))["properties"]
    lines = []
    for section, group in groups.items():
        if group.get("deprecated"):
            continue
        lines.append(f"| **{section}** | | {group['description']} |\n")
        for key, rule in group["properties"].items():
            row = (f"`{key}`", f"`{json.dumps(rule['default'])}`", rule["description"])
            lines.append(f"| {' | '.join(part.replace('|', chr(92) + '|') for part in row)} |\n")
    return HEAD + "".join(lines)


if __name__ == "__main__":
    before, _, rest = README.read_text(encoding="utf-8").partition(HEAD)
    README.write_text(before + table() + rest[rest.index("\n\n") + 1 :], encoding="utf-8")
