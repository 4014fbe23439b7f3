"""The hall: the configuration and the log, for both wings."""

import contextlib
import difflib
import json
import logging
import logging.handlers
import os
import pathlib
import sys

import jsonschema
import tqdm

from Classes.common import atomic_files
from Classes.common.errors import ConfigurationError, escape_control_chars
from Classes.common.paths import PROJECT

CONFIGURATION = PROJECT / "Required" / "confs.json"
SCHEMA = PROJECT / "Required" / "confs.schema.json"

CORES = os.cpu_count() or 1

DISCLAIMER = "Research use only: a verdict of this program is no diagnosis and replaces none."
SYNTHETIC = "This model was trained on synthetic smears: its verdicts say nothing about real cells."


class Configuration:
    """The checked values of one run; `configuration["Epochs"]` is a key of the section `Classifier`.

    Attributes:
      values: {"Settings": {...}, "Classifier": {...}}, every key of the schema present.
    """

    def __init__(self, values):
        self.values = values

    def __getitem__(self, key):
        return self.values["Classifier"][key]

    @property
    def root(self):
        """The folder that relative paths are taken from: `NetworkPath`, else the project's."""
        return PROJECT / _expand(self["NetworkPath"])

    @property
    def logs(self):
        return self.root / _expand(self.values["Settings"]["Logs"])

    @property
    def address(self):
        """Where the API listens; an empty `IP` means this machine only."""
        return self["IP"] or "127.0.0.1"

    @property
    def workers(self):
        """Threads for work on files: `Workers`, where 0 means one a processor core."""
        return self["Workers"] or CORES

    @property
    def server_workers(self):
        """Requests worked on at once: `ServerWorkers`, where 0 means two more than processor cores."""
        return self["ServerWorkers"] or CORES + 2

    def path(self, key):
        """The path under `key` as an absolute pathlib.Path."""
        return self.root / _expand(self[key])

    @property
    def card(self):
        """The model card, beside the frozen graph."""
        return self.path("ALLGraph").with_suffix(".json")


def load_config(path=None, settings=()):
    """Read, complete and check a configuration.

    Args:
      path: a JSON file; None is `Required/confs.json`. Keys it leaves out have the schema's default.
      settings: texts `Key=value` that override the file for this run; keys of `Classifier` without prefix,
        values as JSON or plain text.
    Returns:
      Configuration.
    Raises:
      ConfigurationError: naming the key, the value and what is allowed.
    """
    path = pathlib.Path(path or CONFIGURATION)
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    values = _read(path)
    _check(values, schema, path)
    for section, rules in schema["properties"].items():
        defaults = {key: rule["default"] for key, rule in rules["properties"].items()}
        values[section] = {**defaults, **values.get(section, {})}
    for text in settings:
        section, key, value = _parse_override(text, schema)
        values[section][key] = value
    _check(values, schema, "--set" if settings else path)
    for section, rules in schema["properties"].items():
        for key, rule in rules["properties"].items():
            # JSON knows no whole numbers: 65.0 is allowed where 65 is, but Python's range() wants the latter.
            if rule["type"] == "integer":
                values[section][key] = int(values[section][key])
    return Configuration(values)


def _expand(text):
    try:
        return pathlib.Path(text).expanduser()
    except RuntimeError as error:
        raise ConfigurationError(f"{text}: {error}; write the path out") from error


def _read(path):
    try:
        values = atomic_files.read_json(path)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}; give a configuration with --confs PATH") from error
    except ValueError as error:
        raise ConfigurationError(f"{path}: no JSON ({error}); mend it or start from the one in Required/") from error
    if not isinstance(values, dict):
        raise ConfigurationError(f'{path}: a JSON object with "Settings" and "Classifier" is expected')
    return values


def _parse_override(text, schema):
    """`Key=value` or `Section.Key=value` to (section, key, value)."""
    name, equals, value = text.partition("=")
    if not equals:
        raise ConfigurationError(f"--set {text}: write Key=value, for instance --set Epochs=5")
    name = name.strip()
    known = {}
    for section in ("Settings", "Classifier"):
        for key, rule in schema["properties"][section]["properties"].items():
            known[key] = known[f"{section}.{key}"] = section, key, rule
    if name not in known:
        raise ConfigurationError(f"--set {text}: there is no key {name}{_suggest(name, known)}")
    section, key, rule = known[name]
    return section, key, _parse_value(value, rule)


def _parse_value(text, rule):
    """The JSON value of `text` where the key allows that, else the plain text (`PositiveClass=1` is a text)."""
    try:
        value = atomic_files.parse_json(text)
    except ValueError:
        return text
    return value if rule["type"] != "string" or isinstance(value, str) else text


def _check(values, schema, source):
    validator = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker(["regex"]))
    error = jsonschema.exceptions.best_match(validator.iter_errors(values))
    if error is None:
        _check_texts(values, source)
        return
    key = ".".join(str(part) for part in error.absolute_path)
    if error.validator == "additionalProperties":
        unknown = sorted(set(error.instance) - set(error.schema["properties"]))[0]
        nearest = _suggest(unknown, error.schema["properties"])
        where = f" in {key}" if key else ""
        raise ConfigurationError(f"{source}: there is no key {unknown}{where}{nearest}")
    shown = json.dumps(error.instance)
    raise ConfigurationError(f"{source}: {key} is {shown}; allowed: {_describe_constraint(error.schema)}")


def _check_texts(values, source):
    """Whatever is a text may end in a path, which has no zero byte, or in a log, which is UTF-8."""
    for section, found in values.items():
        for key, value in found.items():
            text = "".join(value) if isinstance(value, list) else value
            if isinstance(text, str) and ("\0" in text or any("\ud800" <= character <= "\udfff" for character in text)):
                shown = json.dumps(value)
                raise ConfigurationError(f"{source}: {section}.{key} is {shown}; allowed: a text in UTF-8 without \\0")


def _suggest(key, known):
    lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(key.lower(), lower, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {lower[near[0]]}?"
    return f"; the keys are {', '.join(sorted(known))}" if len(known) < 10 else "; the README lists all keys"


def _describe_constraint(rule):
    """A schema rule in words."""
    if "enum" in rule:
        return " or ".join(json.dumps(value) for value in rule["enum"])
    kinds = {
        "integer": "a whole number",
        "number": "a number",
        "string": "a text",
        "array": "a list",
        "boolean": "true or false",
    }
    words = [kinds.get(rule.get("type"), "an object")]
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
    words += [form.format(rule[limit]) for limit, form in limits.items() if limit in rule]
    return " ".join(words)


class _Formatter(logging.Formatter):
    """The historic line forms; control characters from outside never reach a log raw (they could forge lines)."""

    def __init__(self):
        super().__init__("%(asctime)s - %(name)s - %(levelname)s - %(message)s")
        self._tensorflow = logging.Formatter("%(levelname)s:%(name)s:%(message)s")

    def format(self, record):
        text = self._tensorflow.format(record) if record.name == "tensorflow" else super().format(record)
        return escape_control_chars(text)


class _TqdmHandler(logging.Handler):
    """Writes above a progress bar instead of through it."""

    def emit(self, record):
        tqdm.tqdm.write(self.format(record), file=sys.stdout)


class _File(logging.handlers.RotatingFileHandler):
    """A log that cannot be written any more, as on a full disk, is told once; the run goes on."""

    def handleError(self, record):  # noqa: N802 logging's name
        reason = sys.exc_info()[1]
        root = logging.getLogger()
        root.removeHandler(self)
        with contextlib.suppress(OSError):
            self.close()
        root.warning("%s: %s; from here on only the terminal shows the log", self.baseFilename, reason)


# Loggers whose details go to the file, and the file alone.
DEBUG_LOGGERS = ("Movidius", "Trainer")


def start_log(configuration, name):
    """Send the log to the terminal and to `Logs/<name>.log` (ten files of 10 MiB at most).

    Called once by each entry script; a second call replaces the first, so no line ever appears twice.

    Args:
      configuration: Configuration.
      name: the script, such as "Trainer"; also the name of the logger that is returned.
    Returns:
      logging.Logger.
    """
    handlers = [_TqdmHandler()]
    problem = None
    try:
        atomic_files.make(configuration.logs)
        file = configuration.logs / f"{name}.log"
        handlers.append(_File(*atomic_files.rotated(file, 10 << 20), backupCount=9, encoding="utf-8"))
    except OSError as error:
        problem = f"{configuration.logs}: {error.strerror}; this run is logged to the terminal only"
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    for handler in handlers:
        handler.setFormatter(_Formatter())
        root.addHandler(handler)
    root.setLevel(logging.INFO)
    handlers[0].setLevel(logging.INFO)
    for detailed in DEBUG_LOGGERS:
        logging.getLogger(detailed).setLevel(logging.DEBUG)
    log = logging.getLogger(name)
    if problem:
        log.warning(problem)
    log.info("Helpers class initialization complete.")
    return log


def progress(iterable=None, **options):
    """A progress bar with the time left on a terminal; nothing where the output goes to a file."""
    return tqdm.tqdm(iterable, disable=None, dynamic_ncols=True, leave=False, **options)
