"""Find which configuration keys each entry script reads, from the source of every module that it can import.

python3 -m tests.support.config_keys      # write the result into Required/confs.schema.json
"""

import ast
import functools
import json
import pathlib

from Classes.common import config_schema
from Classes.common.paths import PROJECT

SCRIPTS = ("Classifier", "Client", "Data", "Server", "Trainer", "Validation")
CONFIG = "Classes.common.config"


def keys_of(script: str) -> set[str]:
    """Return the keys that a script, or any module that it imports directly or indirectly, reads."""
    seen: set[str] = set()
    waiting = [script]
    while waiting:
        module = waiting.pop()
        if module not in seen:
            seen.add(module)
            waiting += _imports(module)
    return set().union(*(_reads(module) for module in seen - {CONFIG})) & set(config_schema.keys())


@functools.cache
def _tree(module: str) -> ast.Module:
    return ast.parse(_file(module).read_text(encoding="utf-8"))


def _file(module: str) -> pathlib.Path:
    path = PROJECT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _imports(module: str) -> list[str]:
    found = []
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
    if module == "Classes.networks.registry":
        # It imports them by the name in the configuration.
        found += [
            f"Classes.networks.architectures.{path.stem}" for path in _file(module).parent.glob("architectures/*.py")
        ]
    return [each for each in found if each.startswith("Classes") and _file(each).exists()]


@functools.cache
def _properties() -> dict[str, set[str]]:
    """Return the keys that each method and property of Configuration reads."""
    [cls] = [node for node in _tree(CONFIG).body if isinstance(node, ast.ClassDef) and node.name == "Configuration"]
    functions = {node.name: node for node in cls.body if isinstance(node, ast.FunctionDef)}
    found = {name: _subscripts(node, "self") for name, node in functions.items()}
    for name, node in functions.items():
        for each in ast.walk(node):
            if isinstance(each, ast.Attribute) and each.attr in ("root", "path"):
                found[name] |= found["root"]
    return found


def _reads(module: str) -> set[str]:
    tree = _tree(module)
    found = _subscripts(tree, "configuration")
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _ends_in(node.value, "configuration"):
            found |= _properties().get(node.attr, set())
        elif isinstance(node, ast.Call) and any(_ends_in(each, "configuration") for each in [node.func, *node.args]):
            found |= {
                each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)
            }
        elif isinstance(node, ast.FunctionDef) and _reads_by_variable(node):
            groups = [each.elts for each in ast.walk(node) if isinstance(each, (ast.Tuple, ast.List))]
            found |= {each.value for elements in groups for each in elements if isinstance(each, ast.Constant)}
    return found


def _subscripts(tree: ast.AST, name: str) -> set[str]:
    """Return the constants in `name[...]` and `name.path(...)`."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and _ends_in(node.value, name):
            if isinstance(node.slice, ast.Constant):
                found.add(node.slice.value)
            elif isinstance(node.slice, ast.JoinedStr) and isinstance(node.slice.values[0], ast.Constant):
                found |= {key for key in sorted(config_schema.keys()) if key.startswith(node.slice.values[0].value)}
        if isinstance(node, ast.Call) and _ends_in(node.func, "path"):
            found |= {each.value for each in node.args if isinstance(each, ast.Constant)}
    return found


def _reads_by_variable(function: ast.FunctionDef) -> bool:
    return any(
        isinstance(node, ast.Subscript) and _ends_in(node.value, "configuration") and isinstance(node.slice, ast.Name)
        for node in ast.walk(function)
    )


def _ends_in(node: ast.AST, name: str) -> bool:
    """Whether an expression is `name`, `_name` or an attribute of that name."""
    text = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    return text.lstrip("_") == name


def scripts_of_keys() -> dict[str, list[str]]:
    """Return the scripts that read each key."""
    found = {script: keys_of(script) for script in SCRIPTS}
    names = [name for section in config_schema.sections().values() for name in section]
    return {name: [script for script in SCRIPTS if name in found[script]] for name in names}


def main() -> None:
    schema = json.loads(config_schema.SCHEMA.read_text(encoding="utf-8"))
    scripts = scripts_of_keys()
    for group in schema["properties"].values():
        for name, rule in group.get("properties", {}).items():
            if not rule.get("deprecated"):
                rule["scripts"] = scripts[name]
    config_schema.SCHEMA.write_text(json.dumps(schema, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
