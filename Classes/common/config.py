"""Load, complete and check the configuration."""

import difflib
import json
import os
import pathlib
from collections.abc import Iterable
from typing import Any

import jsonschema

from Classes.common import config_schema, json_files, translation
from Classes.common.errors import ConfigurationError
from Classes.common.paths import PROJECT

CONFIGURATION = PROJECT / "Required" / "confs.json"

CORES = os.cpu_count() or 1


class Configuration:
    """The checked values of one run; `configuration["Epochs"]` is a key of any section.

    Attributes:
      values: {"Training": {"Epochs": 65, …}, …}, every key that has an effect.
      ignored: the keys without an effect that the user gave.
    """

    def __init__(self, values: dict[str, dict[str, Any]], ignored: Iterable[str] = ()):
        self.values = values
        self.ignored = list(ignored)
        self._flat = {key: value for section in values.values() for key, value in section.items()}

    def __getitem__(self, key: str) -> Any:
        return self._flat[key]

    def replace(self, **changes: Any) -> "Configuration":
        """Return a copy with other values of some keys; they are not checked."""
        values = {section: dict(entries) for section, entries in self.values.items()}
        for key, value in changes.items():
            values[config_schema.keys()[key].section][key] = value
        return Configuration(values, self.ignored)

    @property
    def root(self) -> pathlib.Path:
        """The folder that relative paths start from: `NetworkPath`, by default the project's."""
        return PROJECT / _expand(self["NetworkPath"])

    @property
    def logs(self) -> pathlib.Path:
        return self.path("Logs")

    @property
    def address(self) -> str:
        """Where the API listens; an empty `IP` means this machine only."""
        return self["IP"] or "127.0.0.1"

    @property
    def language(self) -> str:
        """Language of the texts for people: `Language`, by default that of the system."""
        chosen = self["Language"]
        return translation.language_from_environment() if chosen == "auto" else chosen

    @property
    def workers(self) -> int:
        """Threads for work on files: `Workers`; 0 means one per processor core."""
        return self["Workers"] or CORES

    @property
    def server_workers(self) -> int:
        """Requests that run at the same time: `ServerWorkers`; 0 means two more than processor cores."""
        return self["ServerWorkers"] or CORES + 2

    @property
    def heat_map_workers(self) -> int:
        """Heat maps that are made at the same time, beside `server_workers`; one at a time is computed."""
        return max(1, self.server_workers // 4)

    def path(self, key: str) -> pathlib.Path:
        """Return the value of `key` as an absolute path."""
        return self.root / _expand(self[key])

    @property
    def card(self) -> pathlib.Path:
        """The model card, beside the frozen graph."""
        return self.path("ALLGraph").with_suffix(".json")


def load_config(path: str | os.PathLike | None = None, settings: Iterable[str] = ()) -> Configuration:
    """Read, complete and check a configuration.

    Args:
      path: a JSON file; None is `Required/confs.json`. Keys that it leaves out have the schema's default.
      settings: texts `Key=value` that override the file for this run; values are JSON or plain text. The section, as
        in `Training.Epochs=5`, is optional.
    Raises:
      ConfigurationError: `unreadable_configuration`, `not_json`, `unknown_key`, `wrong_section`, `duplicate_key` (one
        key twice, for example under its current and its older name), `invalid_override` or `invalid_value`.
    """
    path = pathlib.Path(path or CONFIGURATION)
    given, written = _collect(_read(path), str(path))
    _check(given, written, str(path))
    overrides, named = _parse_overrides(settings)
    _check(overrides, named, "--set")
    given |= overrides
    values: dict[str, dict[str, Any]] = {}
    for section, keys in config_schema.sections().items():
        values[section] = {
            name: _as_typed(given.get(name, key.rule["default"]), key.rule)
            for name, key in keys.items()
            if key.has_effect
        }
    languages = ("auto", *translation.languages())
    if values["Settings"]["Language"] not in languages:
        message = f"Language is {values['Settings']['Language']}; allowed: {', '.join(languages)}"
        raise ConfigurationError(message, code="invalid_value")
    return Configuration(values, [name for name in given if not config_schema.keys()[name].has_effect])


def _as_typed(value: Any, rule: dict[str, Any]) -> Any:
    # JSON has no integers: 65.0 is a valid "integer", but range() needs an int.
    return int(value) if rule["type"] == "integer" else value


def _expand(text: str) -> pathlib.Path:
    try:
        return pathlib.Path(text).expanduser()
    except RuntimeError as error:
        raise ConfigurationError(f"{text}: {error}. Write the full path.", code="no_home_folder") from error


def _read(path: pathlib.Path) -> dict[str, Any]:
    try:
        values = json_files.read_json(path)
    except OSError as error:
        message = f"{path}: {error.strerror}. Name a configuration file with --confs PATH."
        raise ConfigurationError(message, code="unreadable_configuration") from error
    except ValueError as error:
        message = f"{path}: not valid JSON ({error}). Correct it, or start from Required/confs.json."
        raise ConfigurationError(message, code="not_json") from error
    if not isinstance(values, dict):
        message = f"{path}: expected a JSON object with the sections {', '.join(config_schema.sections())}"
        raise ConfigurationError(message, code="invalid_value")
    return values


def _collect(document: dict[str, Any], source: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Return ({key: value}, {key: its name in the file}) with current key names."""
    given: dict[str, Any] = {}
    written: dict[str, str] = {}
    sections, known = config_schema.sections(), config_schema.keys()
    for section, entries in document.items():
        if section not in sections and section not in config_schema.older_sections():
            raise _unknown_key(source, section, sections)
        if not isinstance(entries, dict):
            message = f"{source}: {section} is {json.dumps(entries)}; allowed: an object"
            raise ConfigurationError(message, code="invalid_value")
        for name, value in entries.items():
            if name not in known:
                raise _unknown_key(source, name, sections.get(section, known), section)
            key = known[name]
            if section not in (key.section, *config_schema.older_sections()):
                message = f"{source}: {name} is in the section {section}. Move it to {key.section}."
                raise ConfigurationError(message, code="wrong_section")
            full_name = f"{section}.{name}"
            if key.name in given:
                raise _duplicate_key(source, written[key.name], full_name)
            given[key.name], written[key.name] = _translate(key, name, value), full_name
    return given, written


def _parse_overrides(settings: Iterable[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the same as `_collect` for texts `Key=value`; the last of several values of one key counts."""
    given: dict[str, Any] = {}
    written: dict[str, str] = {}
    known = dict(config_schema.keys())
    for name, key in config_schema.keys().items():
        known.update({f"{section}.{name}": key for section in (key.section, *config_schema.older_sections())})
    for text in settings:
        full_name, equals, value = text.partition("=")
        if not equals:
            message = f"--set {text}: write Key=value, for example --set Epochs=5"
            raise ConfigurationError(message, code="invalid_override")
        full_name = full_name.strip()
        if full_name not in known:
            raise _unknown_key(f"--set {text}", full_name, known)
        key, name = known[full_name], full_name.rpartition(".")[2]
        if written.setdefault(key.name, name) != name:
            raise _duplicate_key("--set", written[key.name], name)
        given[key.name] = _translate(key, name, _parse_value(value, key.rule))
    return given, written


def _translate(key: config_schema.Key, name: str, value: Any) -> Any:
    """Return the value that `key` has if `name`, which may be an older name, has `value`."""
    if name == key.rule.get("complement") and isinstance(value, (int, float)) and not isinstance(value, bool):
        return round(1 - value, 12)
    return value


def _parse_value(text: str, rule: dict[str, Any]) -> Any:
    """Return the JSON value of `text` if the key allows that, else the text itself (`PositiveClass=1` is a text)."""
    try:
        value = json_files.parse_json(text)
    except ValueError:
        return text
    return value if rule["type"] != "string" or isinstance(value, str) else text


def _check(given: dict[str, Any], written: dict[str, str], source: str) -> None:
    """Raise ConfigurationError `invalid_value` for the first value that its rule does not allow."""
    formats = jsonschema.FormatChecker(["regex"])
    for name, value in given.items():
        rule = config_schema.keys()[name].rule
        validator = jsonschema.Draft202012Validator(rule, format_checker=formats)
        error = jsonschema.exceptions.best_match(validator.iter_errors(value))
        if error is not None:
            place = ".".join([_shown_name(name, written[name]), *map(str, error.absolute_path)])
            value, allowed = json.dumps(error.instance), _describe_constraint(error.schema)
            message = f"{source}: {place} is {value}; allowed: {allowed}"
            raise ConfigurationError(message, code="invalid_value")
        text = "".join(value) if isinstance(value, list) else value
        # A text may become a path, which has no zero byte, or part of a log, which is UTF-8.
        if isinstance(text, str) and ("\0" in text or any("\ud800" <= character <= "\udfff" for character in text)):
            message = f"{source}: {written[name]} is {json.dumps(value)}; allowed: a text in UTF-8 without \\0"
            raise ConfigurationError(message, code="invalid_value")


def _shown_name(name: str, written: str) -> str:
    return f"{written} (now {name})" if written.rpartition(".")[2] != name else written


def _unknown_key(source: str, name: str, known: Iterable[str], section: str = "") -> ConfigurationError:
    where = f" in {section}" if section else ""
    return ConfigurationError(f"{source}: there is no key {name}{where}{_suggest(name, known)}", code="unknown_key")


def _duplicate_key(source: str, first: str, second: str) -> ConfigurationError:
    return ConfigurationError(
        f"{source}: {first} and {second} are the same key. Remove one of them.", code="duplicate_key"
    )


def _suggest(name: str, known: Iterable[str]) -> str:
    lower = {each.lower(): each for each in known}
    near = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {lower[near[0]]}?"
    return f"; the keys are {', '.join(lower.values())}" if len(lower) < 10 else "; see docs/configuration.md"


def _describe_constraint(rule: dict[str, Any]) -> str:
    """Return a schema rule in words."""
    if "enum" in rule:
        return " or ".join(json.dumps(value) for value in rule["enum"])
    types = {
        "integer": "a whole number",
        "number": "a number",
        "string": "a text",
        "array": "a list",
        "boolean": "true or false",
    }
    limits = {
        "minimum": "from {}",
        "exclusiveMinimum": "above {}",
        "maximum": "up to {}",
        "exclusiveMaximum": "below {}",
        "minLength": "of at least {} character(s)",
        "minItems": "of at least {} item(s)",
        "pattern": "that matches {}",
        "format": "that is a {}",
    }
    words = [types.get(rule.get("type", ""), "an object")]
    return " ".join(words + [form.format(rule[limit]) for limit, form in limits.items() if limit in rule])
