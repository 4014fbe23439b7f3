"""Write docs/configuration.md from the schema.

python3 docs/configuration_table.py
"""

import json
import pathlib

PROJECT = pathlib.Path(__file__).resolve().parent.parent
PAGE = PROJECT / "docs" / "configuration.md"
SCHEMA = PROJECT / "Required" / "confs.schema.json"

INTRODUCTION = """# Configuration

<!-- Written by docs/configuration_table.py from Required/confs.schema.json. Change the schema, then run the script. -->

`Required/confs.json` holds the settings. Every key is optional; the table shows its default. Relative paths start at
the project's folder, or at `NetworkPath` if it is set. An unknown key, a wrong type or a value out of range stops the
script with one message that names the key and what it may be.

Change a setting for one run with `--set`, or use another file with `--confs`:

```
python3 Trainer.py --set Epochs=10 --set LearningRate=0.001
python3 Trainer.py --confs my_confs.json
```

The section of a key may be left out with `--set`. Keys in the section `Classifier` or `Server`, as in configurations of
version 1, and the former names of renamed keys are accepted too.

Two secrets may also come from the environment: `ALL_API_KEY` and `ALL_MQTT_PASSWORD`.
"""
TABLE_HEAD = "| key | default | meaning |\n|---|---|---|\n"


def table(keys: dict) -> str:
    """Return a Markdown table of keys, their defaults and meanings."""
    rows = [(f"`{key}`", f"`{json.dumps(rule['default'])}`", rule["description"]) for key, rule in keys.items()]
    lines = (" | ".join(part.replace("|", "\\|") for part in row) for row in rows)
    return TABLE_HEAD + "".join(f"| {line} |\n" for line in lines)


def page() -> str:
    """Return the whole page: one section and table per group of the schema."""
    groups = json.loads(SCHEMA.read_text(encoding="utf-8"))["properties"]
    current = {name: group for name, group in groups.items() if not group.get("deprecated")}
    sections = (
        f"\n## {name}\n\n{group['description']}.\n\n{table(group['properties'])}" for name, group in current.items()
    )
    return INTRODUCTION + "".join(sections)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
