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
    """A Markdown table of every key, its default and its meaning."""
    groups = json.loads(SCHEMA.read_text(encoding="utf-8"))["properties"].values()
    keys = {key: rule for group in groups for key, rule in group["properties"].items()}
    rows = [(f"`{key}`", f"`{json.dumps(rule['default'])}`", rule["description"]) for key, rule in keys.items()]
    lines = (" | ".join(part.replace("|", "\\|") for part in row) for row in rows)
    return HEAD + "".join(f"| {line} |\n" for line in lines)


if __name__ == "__main__":
    before, _, rest = README.read_text(encoding="utf-8").partition(HEAD)
    README.write_text(before + table() + rest[rest.index("\n\n") + 1 :], encoding="utf-8")
