"""What every entry script starts with: the interpreter, the options, the exit code.

Imports only the standard library, so that it runs before the packages are installed.
"""

import argparse
import atexit
import contextlib
import gc
import gettext
import importlib
import importlib.util
import io
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from Classes.common import config_schema, error_messages, interrupts, provenance, terminal, translation
from Classes.common.errors import ALLError, escape_control_chars
from Classes.common.loading import loading
from Classes.common.paths import PROJECT
from Classes.common.translation import Message
from Classes.common.translation import gettext as _

SERVING = ("imagecodecs", "jsonschema", "numpy", "openvino", "PIL", "rich", "tifffile")
CLIENT = ("jsonschema", "requests", "rich", "urllib3")
# Without paho, which only a server with a broker (MqttBroker) needs.
SERVER = (*SERVING, "flask", "isal", "prometheus_client", "waitress", "werkzeug")
TRAINING = (
    *SERVING,
    "h5py",
    "isal",
    "jinja2",
    "keras",
    "matplotlib",
    "scipy",
    "sklearn",
    "tensorboard",
    "tensorflow",
    "tf_keras",
    "tf_slim",
    "threadpoolctl",
    "yaml",
)

# Messages of argparse that a wrong command causes. It looks them up in the default catalogue, see `run_cli`. "usage: "
# is not among them, because parse_intermixed_args relies on its length.
ARGPARSE_MESSAGES = (
    translation.mark("%(prog)s: error: %(message)s\n"),
    translation.mark("argument %(argument_name)s: %(message)s"),
    translation.mark("invalid choice: %(value)r (choose from %(choices)s)"),
    translation.mark("invalid %(type)s value: %(value)r"),
    translation.mark("expected one argument"),
    translation.mark("ignored explicit argument %r"),
    translation.mark("ambiguous option: %(option)s could match %(matches)s"),
    translation.mark("the following arguments are required: %s"),
    translation.mark("unrecognized arguments: %s"),
)

# Environment variable: `reexec_in_venv` started this process.
REEXEC_FLAG = "ALL_HANDED_OVER"


def missing_packages(packages: Iterable[str]) -> list[str]:
    """Return the names of `packages` that this interpreter does not find."""
    return [name for name in packages if importlib.util.find_spec(name) is None]


def reexec_in_venv(packages: Iterable[str]) -> None:
    """Run this command again in the project's `.venv` if this interpreter lacks a package.

    Args:
      packages: import names.
    Raises:
      ALLError: a package is missing and `.venv` is missing or lacks it too (`package_missing`).
    """
    missing = missing_packages(packages)
    if not missing:
        return
    windows = os.name == "nt"
    interpreter = PROJECT / ".venv" / ("Scripts/python.exe" if windows else "bin/python")
    # The variable keeps a damaged .venv from starting itself forever.
    if interpreter.exists() and REEXEC_FLAG not in os.environ:
        os.environ[REEXEC_FLAG] = "1"
        sys.stdout.flush()
        # orig_argv includes -m and the interpreter's own options.
        command = [str(interpreter), *sys.orig_argv[1:]]
        if windows:
            # execv starts another process there, and the shell does not wait for it.
            sys.exit(subprocess.call(command))
        os.execv(interpreter, command)
    file = PROJECT / "Required" / "requirements-serving.txt"
    remedy = f"{sys.executable} -m pip install -r {file}" if windows else f"sh {PROJECT / 'Setup.sh'}"
    raise ALLError(
        Message("{missing}: not installed; run {remedy} first", missing=", ".join(missing), remedy=remedy),
        code="package_missing",
    )


def check_system(packages: Iterable[str]) -> None:
    """Raise ALLError `unsupported_system` if only the client runs here: on Windows and systems without file locks.

    Args:
      packages: as for `run_cli`.
    """
    if set(packages) <= set(CLIENT):
        return
    if missing_packages(["fcntl"]):
        raise ALLError(
            Message("only Client.py runs on this system; on Windows, run this script in WSL (https://aka.ms/wsl)"),
            code="unsupported_system",
        )


@interrupts.defer_signals()
def import_tensorflow() -> None:
    """Import TensorFlow without its messages about kernels and missing graphics drivers.

    It writes them to the process's standard error before its log level takes effect. Real failures are exceptions.
    """
    terminal.say(_("Loading TensorFlow…"))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Weights are only read, and HDF5 refuses files on a network share without locks.
    os.environ.setdefault("HDF5_USE_FILE_LOCKING", "FALSE")
    sys.stderr.flush()
    errors = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        with loading():
            tensorflow = importlib.import_module("tensorflow")
        for processor in tensorflow.config.list_physical_devices("GPU"):
            with contextlib.suppress(RuntimeError):
                # Otherwise the first program takes all of a GPU's memory.
                tensorflow.config.experimental.set_memory_growth(processor, True)
    finally:
        os.dup2(errors, 2)
        os.close(errors)


class Parser(argparse.ArgumentParser):
    """A parser that accepts options anywhere, also between a command and its files, and shows on a terminal the start.

    `argparse` itself fills all positional arguments at the first one, so that `Send --csv out.csv Slides/` is an error
    (https://github.com/python/cpython/issues/59317).

    Attributes:
      script: the entry script whose configuration keys --help lists, or "".
    """

    script = ""

    def format_help(self) -> str:
        """Return the help, followed by the configuration keys that the script reads."""
        keys = f"\n{config_schema.describe_keys(self.script)}" if self.script else ""
        return super().format_help() + keys

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse options and positional arguments in any order; exit with 2 for an error."""
        args = list(sys.argv[1:] if args is None else args)
        if "--" in args:
            # What follows is a file name even if it begins with a dash; ./-a.png is the same file as -a.png.
            start = args.index("--") + 1
            args[start:] = [f"./{text}" if text.startswith("-") else text for text in args[start:]]
        options = self.parse_intermixed_args(args, namespace)
        if self.script:
            terminal.set_plain(options.plain)
            # Before the script imports its packages, which takes seconds.
            terminal.show_start(self.script)
        return options


class _Version(argparse.Action):
    """--version: print the version and, in a git checkout, the commit."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        commit = provenance.git_commit()
        print(provenance.version(), *([f"({commit})"] if commit else []))
        parser.exit()


def base_parser(description: str | None, script: str = "", device: bool = False) -> Parser:
    """Return a parser with the options that every entry script has: `confs` and `settings`.

    Args:
      description: the script's docstring; --help shows it unchanged.
      script: "Trainer", …; --help also lists the configuration keys that it reads.
      device: whether the script runs a model and has --device.
    """
    options = Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.script = script
    options.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    options.add_argument(
        "--plain", action="store_true", help="print log lines also on a terminal, as if the output went to a file"
    )
    group = options.add_argument_group(
        "configuration",
        "The file names in this text are for Condition=ALL. With another condition, its short name replaces ALL.",
    )
    group.add_argument("--confs", metavar="PATH", help="configuration file (default: Required/confs.json)")
    group.add_argument(
        "--set",
        dest="settings",
        metavar="Key=value",
        action="append",
        default=[],
        help="override one key for this run; repeatable, value as JSON or plain text",
    )
    if device:
        group.add_argument(
            "--device",
            dest="settings",
            metavar="NAME",
            action="append",
            type="Device={}".format,
            default=argparse.SUPPRESS,
            help="short for --set Device=NAME: AUTO, NCS1, CPU, GPU, or another that Classifier.py Devices lists",
        )
    return options


def run_cli(main: Callable[[], int], packages: Iterable[str]) -> int:
    """Run a script's `main` and turn an error into one line and an exit code.

    Args:
      main: returns the exit code.
      packages: what the script needs: TRAINING, SERVING, SERVER or CLIENT.
    Returns:
      exit code: from main or the error; 1 for an error of the system or a defect; as in shells 130 for Ctrl-C,
      143 for SIGTERM and 141 if the reader of the output is gone.
    """
    for stream in (sys.stdout, sys.stderr):
        # A file name that the terminal cannot show must not end a run. A notebook's stream has no such setting.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    _ignore_library_warnings()
    # Until the configuration is read, which may name another.
    translation.set_language(translation.language_from_environment())
    gettext.bindtextdomain(translation.DOMAIN, str(translation.FOLDER))
    gettext.textdomain(translation.DOMAIN)
    guard = interrupts.SignalGuard()
    try:
        # --help and --version work before anything is installed.
        if not {"-h", "--help", "--version"} & set(sys.argv[1:]):
            check_system(packages)
            reexec_in_venv(packages)
            os.environ.pop(REEXEC_FLAG, None)
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:
        code = 141
    except KeyboardInterrupt:
        code = _stopped(guard)
    except Exception as error:
        # A library may turn an interrupt of its compiled code into an error of its own.
        stopped = guard.received and error_messages.expected_error(error) is None
        code = _stopped(guard) if stopped else _print_error(error)
    finally:
        guard.finish()
        _flush_stdout()
        # At its end, Python looks for garbage among all objects of all libraries, which takes a tenth of a second.
        atexit.register(gc.freeze)
    return code


def _ignore_library_warnings() -> None:
    """Hide warnings of libraries that a user cannot act on."""
    # decode.py checks the limits of an image itself, and unusual metadata must not stop a run.
    warnings.filterwarnings("ignore", module=r"PIL\.|tifffile")
    # tf_slim calls Keras layers by names that TensorFlow deprecates.
    warnings.filterwarnings("ignore", message="`layer.apply` is deprecated|`layer.updates` will be removed")


def _stopped(guard: interrupts.SignalGuard) -> int:
    guard.finish()
    print(f"\n{translation.gettext('Stopped.')}", file=sys.stderr)
    return 128 + (guard.received or signal.SIGINT)


def _print_error(error: Exception) -> int:
    message, code = error_messages.error_message(error)
    text = escape_control_chars(translation.localize(message))
    if terminal.is_active() and sys.stderr.isatty():
        terminal.say(_("Error: {text}").format(text=text), "bold red")
    else:
        print(f"Error: {text}", file=sys.stderr)
    return code


def _flush_stdout() -> None:
    """Flush the output; if that fails, keep the interpreter from reporting it again when it exits."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
