"""Print the README's configuration table from the schema.

python3 docs/configuration_table.py
"""

import json
import pathlib

SCHEMA = pathlib.Path(__file__).resolve().parent.parent / "Required" / "confs.schema.json"


def table() -> str:
    """A Markdown table of every key, its default and its meaning."""
    groups = json.loads(SCHEMA.read_text(encoding="utf-8"))["properties"].values()
    keys = {key: rule for group in groups for key, rule in group["properties"].items()}
    rows = [(f"`{key}`", f"`{json.dumps(rule['default'])}`", rule["description"]) for key, rule in keys.items()]
    lines = (" | ".join(part.replace("|", "\\|") for part in row) for row in rows)
    return "\n".join(["| key | default | meaning |", "|---|---|---|", *(f"| {line} |" for line in lines)])


if __name__ == "__main__":
    print(table())
