"""What every entry script does at its door: the right interpreter, the options, one line for an error.

Imports nothing outside the standard library, so that it also runs where nothing is installed.
"""

import argparse
import contextlib
import errno
import importlib
import importlib.util
import logging
import os
import pathlib
import re
import signal
import subprocess
import sys
import traceback
import warnings
from typing import Any, NoReturn

from Classes.common import config_schema, interrupts, provenance
from Classes.common.errors import ALLError, escape_control_chars
from Classes.common.paths import PROJECT

SERVING = ("imagecodecs", "jsonschema", "numpy", "openvino", "PIL", "tifffile", "tqdm")
CLIENT = ("jsonschema", "requests", "tqdm", "urllib3")
# Not paho: only a server with a broker (MqttBroker) needs it.
SERVER = (*SERVING, "flask", "prometheus_client", "waitress", "werkzeug")
TRAINING = (
    *SERVING,
    "h5py",
    "keras",
    "matplotlib",
    "scipy",
    "sklearn",
    "tensorboard",
    "tensorflow",
    "tf_keras",
    "tf_slim",
)

SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

# What to do about an error of the system, by its numbers.
REMEDIES = {
    SPACE: "free some space and run this again",
    (errno.EACCES, errno.EPERM): "check who may read and write it and its folder, or use another path (--set)",
    (errno.EROFS,): "use a path on a disk that can be written (--set)",
    (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP): "check the path",
    (errno.ENAMETOOLONG,): "use a shorter path",
    (errno.EMFILE, errno.ENFILE): "allow more open files (ulimit -n)",
    (errno.ENOMEM, errno.EAGAIN): "close other programs",
    (errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENXIO): "check the disk or the network share and run this again",
    (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL): (
        "its file system may lack a function; use a folder on a local disk (--set)"
    ),
}
REMEDY = "check this path and run this again"

# Environment variable: this process was started by `hand_over`.
REEXEC_FLAG = "ALL_HANDED_OVER"


def missing_packages(packages):
    """The names of `packages` that this interpreter does not find."""
    return [name for name in packages if importlib.util.find_spec(name) is None]


def reexec_in_venv(packages):
    """Go on in the project's `.venv` when this interpreter lacks a package.

    Args:
      packages: import names. Where all are found nothing happens.
    Raises:
      ALLError: a package is missing and `.venv` is missing or lacks it too.
    """
    lacking = missing_packages(packages)
    if not lacking:
        return
    windows = os.name == "nt"
    interpreter = PROJECT / ".venv" / ("Scripts/python.exe" if windows else "bin/python")
    # The mark keeps a damaged .venv from handing over to itself for ever.
    if interpreter.exists() and REEXEC_FLAG not in os.environ:
        os.environ[REEXEC_FLAG] = "1"
        sys.stdout.flush()
        # orig_argv keeps -m and the interpreter's own options; it came with Python 3.10.
        arguments = getattr(sys, "orig_argv", ["python", *sys.argv])[1:]
        command = [str(interpreter), *arguments]
        if windows:
            # There execv starts another process and lets the shell go on meanwhile.
            sys.exit(subprocess.call(command))
        os.execv(interpreter, command)
    file = PROJECT / "Required" / "requirements-serving.txt"
    remedy = f"{sys.executable} -m pip install -r {file}" if windows else f"sh {PROJECT / 'Setup.sh'} first"
    raise ALLError(f"{', '.join(lacking)}: not installed; run {remedy}", code="package_missing")


def check_system(packages):
    """Refuse a system on which only the client works.

    Args:
      packages: as for `run`.
    Raises:
      ALLError: this is Windows, or another system without file locks (code "unsupported_system").
    """
    if set(packages) <= set(CLIENT):
        return
    if missing_packages(["fcntl"]):
        raise ALLError(
            "only Client.py runs on this system; on Windows, run this script in WSL (https://aka.ms/wsl)",
            code="unsupported_system",
        )


@interrupts.defer_signals()
def import_tensorflow():
    """Import TensorFlow without its remarks on kernels and missing graphics drivers.

    They are written before any of its log levels is in force, straight to the process's error stream; what goes wrong
    for good is an exception all the same.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Weights are only read, and HDF5 would refuse those on a network share without locks.
    os.environ.setdefault("HDF5_USE_FILE_LOCKING", "FALSE")
    sys.stderr.flush()
    errors = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        tensorflow = importlib.import_module("tensorflow")
        for processor in tensorflow.config.list_physical_devices("GPU"):
            with contextlib.suppress(RuntimeError):
                # Else the first program takes all of a graphics processor's memory.
                tensorflow.config.experimental.set_memory_growth(processor, True)
    finally:
        os.dup2(errors, 2)
        os.close(errors)


class Parser(argparse.ArgumentParser):
    """A parser that takes options anywhere, also between a command and its files.

    `argparse` by itself fills all positional arguments as soon as it meets the first one, so that `Send --csv out.csv
    Slides/` leaves `Slides/` over (https://github.com/python/cpython/issues/59317).

    Attributes:
      script: the entry script whose configuration keys --help lists, or "".
    """

    script = ""

    def format_help(self) -> str:
        keys = f"\n{config_schema.describe_keys(self.script)}" if self.script else ""
        return super().format_help() + keys

    def parse_args(self, args=None, namespace=None):
        args = list(sys.argv[1:] if args is None else args)
        if "--" in args:
            # What follows is the name of a file whatever it begins with; ./-a.png is the same file as -a.png.
            start = args.index("--") + 1
            args[start:] = [f"./{text}" if text.startswith("-") else text for text in args[start:]]
        return self.parse_intermixed_args(args, namespace)


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
      device: whether the script runs a model, and so has --device.
    """
    options = Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.script = script
    options.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    group = options.add_argument_group("configuration")
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


def run_cli(main, packages):
    """Run a script's `main` and turn what goes wrong into one line and an exit code.

    Args:
      main: callable without arguments; returns the exit code.
      packages: what the script needs: TRAINING, SERVING, SERVER or CLIENT.
    Returns:
      exit code: main's own, the error's, 1 for what the system refuses and for a defect, and as shells have it 130 for
      Ctrl-C, 143 for SIGTERM, 141 where the reader of the output has gone.
    """
    for stream in (sys.stdout, sys.stderr):
        # A file name that the terminal's encoding lacks must not end a run; a notebook's stream has no such setting.
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="backslashreplace")
    _ignore_library_warnings()
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
        stopped = guard.received and _expected_error(error) is None
        code = _stopped(guard) if stopped else _print_error(error)
    finally:
        guard.finish()
        _flush_stdout()
    return code


def _ignore_library_warnings() -> None:
    """Hide warnings of libraries that a user cannot act on."""
    # decode.py checks the limits of an image itself, and odd metadata is no reason to stop.
    warnings.filterwarnings("ignore", module=r"PIL\.|tifffile")
    # tf_slim calls Keras layers by names that TensorFlow deprecates.
    warnings.filterwarnings("ignore", message="`layer.apply` is deprecated|`layer.updates` will be removed")


def _stopped(guard: interrupts.SignalGuard) -> int:
    guard.finish()
    print("\nStopped.", file=sys.stderr)
    return 128 + (guard.received or signal.SIGINT)


def _print_error(error):
    message, code = error_message(error)
    print(f"Error: {escape_control_chars(message)}", file=sys.stderr)
    return code


def error_message(error):
    """(what the user is told, exit code) for what ended a run."""
    return _expected_error(error) or _of_package(error) or (_unexpected_error(error), 1)


def _expected_error(error):
    """The same for what can happen to a toolkit without a defect; None for anything else."""
    if isinstance(error, ALLError):
        return error, error.exit_code
    error = _from_tensorflow_error(error) or error
    if isinstance(error, OSError) and error.strerror:
        remedy = next((words for numbers, words in REMEDIES.items() if error.errno in numbers), REMEDY)
        return f"{error.filename or _unnamed(error)}: {error.strerror}; {remedy}", 1
    if isinstance(error, MemoryError):
        return "not enough memory; close other programs, or lower BatchSize or Workers", 1
    return None


def _unnamed(error):
    """Where an error of the system arose that names no file: writing to the output names none, nor do some calls."""
    if error.errno in SPACE:
        return "writing"
    frames = traceback.extract_tb(error.__traceback__)
    return f"line {frames[-1].lineno} of {frames[-1].filename}" if frames else "the system"


def _of_package(error):
    """The same for a package that is there but cannot be loaded; None where another thing went wrong."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [index for index, frame in enumerate(frames) if "importlib._bootstrap" in frame.filename]
    if not isinstance(error, ImportError) and not places:
        return None
    names = [_package(frame.filename) for frame in frames[places[0] if places else 0 :]]
    name = next(filter(None, names), None) or (getattr(error, "name", None) or "").partition(".")[0]
    if not name and (statement := re.match(r"(?:from|import) (\w+)", frames[-1].line or "")):
        name = statement[1]
    if not name or (PROJECT / name).exists() or (PROJECT / f"{name}.py").exists():
        return None
    # TensorFlow's message is a traceback of its own; the reason stands in the line with the exception.
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = (line for line in lines if re.match(r"\w*Error: ", line))
    reason = [*named, *lines, type(error).__name__][0]
    return (
        f"the package {name} cannot be loaded ({reason}); remove {PROJECT / '.venv'} and run sh {PROJECT / 'Setup.sh'} "
        "again, or see the supported systems in the README"
    ), 1


def _package(path):
    """The package that a file of an installed one belongs to, or None."""
    parts = pathlib.Path(path).parts
    for place in ("site-packages", "dist-packages"):
        if place in parts[:-1]:
            return parts[parts.index(place) + 1].removesuffix(".py")
    return None


def _unexpected_error(error):
    last = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"{type(error).__name__} in {pathlib.Path(last.filename).name}, line {last.lineno}: {error}; this is a defect "
        f"of the toolkit, please report it{_log_traceback(error)}"
    )


def _from_tensorflow_error(error):
    """The OSError that TensorFlow has in words, such as "/path; No space left on device"; None where it is another."""
    if hasattr(error, "error_code"):
        for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO):
            reason = os.strerror(number)
            found = re.search(rf"(/[^;}}\n]*); {re.escape(reason)}", str(error))
            if found:
                return OSError(number, reason, found[1])
    return None


def _log_traceback(error):
    """Write the traceback to the log file, a line of its for each of its own; returns where it is, in words."""
    files = [handler for handler in logging.getLogger().handlers if isinstance(handler, logging.FileHandler)]
    if not files:
        return ""
    for line in "".join(traceback.format_exception(type(error), error, error.__traceback__)).splitlines():
        files[0].handle(logging.LogRecord("Entry", logging.ERROR, __file__, 0, line, None, None))
    return f" with the end of {files[0].baseFilename}"


def _flush_stdout():
    """Where the output can no longer be written, the interpreter's last flush must not complain once more."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
