"""Load, complete and check the configuration."""

import difflib
import json
import os
import pathlib
from collections.abc import Iterable
from typing import Any

import jsonschema

from Classes.common import conditions, config_schema, json_files, translation
from Classes.common.errors import ConfigurationError, system_reason
from Classes.common.paths import PROJECT
from Classes.common.translation import Message

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
        """The folder of the log files."""
        return self.path("Logs")

    @property
    def address(self) -> str:
        """Where the API listens; an empty `IP` means this machine only."""
        return self["IP"] or "127.0.0.1"

    @property
    def language(self) -> str:
        """Language of the texts for people: `Language`, by default the language of the system."""
        chosen = self["Language"]
        return translation.language_from_environment() if chosen == "auto" else chosen

    def accepts_class_count(self, count: int) -> bool:
        """Return whether a data set may have this number of classes: any, unless `NumClasses` has been changed."""
        return self["NumClasses"] in (config_schema.keys()["NumClasses"].rule["default"], count)

    @property
    def condition(self) -> conditions.Condition:
        """What is detected: `Condition`. A result has the condition of its model card."""
        return conditions.from_configuration(self["Condition"])

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

    @property
    def queued_fields(self) -> int:
        """Fields that may wait while one is counted; more would exceed `RequestTimeout`."""
        return min(self["MaxQueued"], 8)

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
    _fill_in_condition(values)
    languages = ("auto", *translation.languages())
    if values["Settings"]["Language"] not in languages:
        message = Message(
            "Language is {language}; allowed: {languages}",
            language=values["Settings"]["Language"],
            languages=", ".join(languages),
        )
        raise ConfigurationError(message, code="invalid_value")
    return Configuration(values, [name for name in given if not config_schema.keys()[name].has_effect])


def _fill_in_condition(values: dict[str, dict[str, Any]]) -> None:
    """Replace {condition}, in the names of files and of the MQTT topic, by the short name of the condition."""
    name = conditions.from_configuration(values["Data"]["Condition"]).file_name
    for section, keys in config_schema.sections().items():
        for key, found in keys.items():
            if found.names_condition:
                values[section][key] = values[section][key].replace(config_schema.CONDITION, name)


def _as_typed(value: Any, rule: dict[str, Any]) -> Any:
    # JSON has no integers: 65.0 is a valid "integer", but range() needs an int.
    return int(value) if rule["type"] == "integer" else value


def _types(rule: dict[str, Any]) -> list[str]:
    """Return the JSON types that a rule allows."""
    return rule["type"] if isinstance(rule["type"], list) else [rule["type"]]


def _expand(text: str) -> pathlib.Path:
    try:
        return pathlib.Path(text).expanduser()
    except RuntimeError as error:
        raise ConfigurationError(
            Message("{text}: {error}. Write the full path.", text=text, error=error), code="no_home_folder"
        ) from error


def _read(path: pathlib.Path) -> dict[str, Any]:
    try:
        values = json_files.read_json(path)
    except OSError as error:
        message = Message(
            "{path}: {reason}. Name a configuration file with --confs PATH.", path=path, reason=system_reason(error)
        )
        raise ConfigurationError(message, code="unreadable_configuration") from error
    except ValueError as error:
        message = Message(
            "{path}: not valid JSON ({error}). Correct it, or start from Required/confs.json.", path=path, error=error
        )
        raise ConfigurationError(message, code="not_json") from error
    if not isinstance(values, dict):
        message = Message(
            "{path}: expected a JSON object with the sections {sections}",
            path=path,
            sections=", ".join(config_schema.sections()),
        )
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
            message = Message(
                "{source}: {section} is {entries}; allowed: an object",
                source=source,
                section=section,
                entries=json.dumps(entries),
            )
            raise ConfigurationError(message, code="invalid_value")
        for name, value in entries.items():
            if name not in known:
                raise _unknown_key(source, name, sections.get(section, known), section)
            key = known[name]
            if section not in (key.section, *config_schema.older_sections()):
                message = Message(
                    "{source}: {name} is in the section {section}. Move it to {section_2}.",
                    source=source,
                    name=name,
                    section=section,
                    section_2=key.section,
                )
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
            message = Message("--set {text}: write Key=value, for example --set Epochs=5", text=text)
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
    allowed = _types(rule)
    if "string" not in allowed or isinstance(value, str):
        return value
    kind = "array" if isinstance(value, list) else "object" if isinstance(value, dict) else None
    return value if kind in allowed else text


def _check(given: dict[str, Any], written: dict[str, str], source: str) -> None:
    """Raise ConfigurationError `invalid_value` for the first value that its rule does not allow."""
    formats = jsonschema.FormatChecker(["regex"])
    for name, value in given.items():
        rule = config_schema.keys()[name].rule
        validator = jsonschema.Draft202012Validator(rule, format_checker=formats)
        error = jsonschema.exceptions.best_match(validator.iter_errors(value))
        if error is not None:
            place = translation.join(".", [_shown_name(name, written[name]), *map(str, error.absolute_path)])
            value, allowed = json.dumps(error.instance), _describe_constraint(error.schema)
            message = Message(
                "{source}: {place} is {value}; allowed: {allowed}",
                source=source,
                place=place,
                value=value,
                allowed=allowed,
            )
            raise ConfigurationError(message, code="invalid_value")
        text = _all_text(value)
        # A text may become a path, which has no zero byte, or part of a log, which is UTF-8.
        if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
            message = Message(
                "{source}: {written} is {value}; allowed: a text in UTF-8 without \\0",
                source=source,
                written=written[name],
                value=json.dumps(value),
            )
            raise ConfigurationError(message, code="invalid_value")


def _all_text(value: Any) -> str:
    """Return every text in a value, one after the other."""
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list):
        return "".join(map(_all_text, value))
    return value if isinstance(value, str) else ""


def _shown_name(name: str, written: str) -> str:
    changed = written.rpartition(".")[2] != name
    return Message("{written} (now {name})", written=written, name=name) if changed else written


def _unknown_key(source: str, name: str, known: Iterable[str], section: str = "") -> ConfigurationError:
    where = Message("{name} in {section}", name=name, section=section) if section else name
    return ConfigurationError(
        Message(
            "{source}: there is no key {name}; {suggestion}",
            source=source,
            name=where,
            suggestion=_suggest(name, known),
        ),
        code="unknown_key",
    )


def _duplicate_key(source: str, first: str, second: str) -> ConfigurationError:
    return ConfigurationError(
        Message(
            "{source}: {first} and {second} are the same key. Remove one of them.",
            source=source,
            first=first,
            second=second,
        ),
        code="duplicate_key",
    )


def _suggest(name: str, known: Iterable[str]) -> Message:
    lower = {each.lower(): each for each in known}
    near = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.6)
    if near:
        return Message("did you mean {name}?", name=lower[near[0]])
    if len(lower) < 10:
        return Message("the keys are {names}", names=", ".join(lower.values()))
    return Message("see docs/configuration.md")


def _describe_constraint(rule: dict[str, Any]) -> Message:
    """Return a schema rule in words."""
    if "anyOf" in rule:
        return translation.join("; ", map(_describe_constraint, rule["anyOf"]))
    if "enum" in rule:
        return translation.join(", ", map(json.dumps, rule["enum"]))
    types = {
        "integer": Message("a whole number"),
        "number": Message("a number"),
        "string": Message("a text"),
        "array": Message("a list"),
        "boolean": Message("true or false"),
        "object": Message("an object"),
    }
    allowed = [types.get(name, Message("an object")) for name in _types({"type": "object", **rule})]
    words = [translation.join(" / ", allowed)] if len(allowed) > 1 else allowed
    # Each limit that the rule has, in this order.
    limits = {
        "minimum": translation.mark("from {limit}"),
        "exclusiveMinimum": translation.mark("above {limit}"),
        "maximum": translation.mark("up to {limit}"),
        "exclusiveMaximum": translation.mark("below {limit}"),
        "minLength": translation.mark("of at least {limit} character(s)"),
        "minItems": translation.mark("of at least {limit} item(s)"),
        "pattern": translation.mark("that matches {limit}"),
        "format": translation.mark("that is a {limit}"),
    }
    words += [Message(form, limit=rule[name]) for name, form in limits.items() if name in rule]
    if "required" in rule:
        words.append(Message("with {limit}", limit=", ".join(rule["required"])))
    return translation.join(" ", words)
