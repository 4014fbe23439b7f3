"""What every entry script does at its door: the right interpreter, the options, one line for an error.

Imports nothing outside the standard library, so that it also runs where nothing is installed.
"""

import argparse
import importlib
import importlib.util
import os
import pathlib
import sys

from Classes.Errors import ALLError

PROJECT = pathlib.Path(__file__).resolve().parent.parent
SERVING = ("jsonschema", "numpy", "openvino", "PIL", "tqdm")
TRAINING = (*SERVING, "matplotlib", "scipy", "sklearn", "tensorboard", "tensorflow", "tf_keras", "tf_slim")


def hand_over(packages):
    """Go on in the project's `.venv` when this interpreter lacks a package.

    Args:
      packages: import names. Where all are found nothing happens.
    Raises:
      ALLError: a package is missing and `.venv` is missing or lacks it too.
    """
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if not missing:
        return
    interpreter = PROJECT / ".venv" / "bin" / "python"
    # sys.prefix tells a virtual environment from the system's Python, whose file is often the same.
    if interpreter.exists() and pathlib.Path(sys.prefix).resolve() != interpreter.parent.parent.resolve():
        sys.stdout.flush()
        os.execv(interpreter, [str(interpreter), *sys.argv])
    raise ALLError(f"{', '.join(missing)}: not installed; run sh {PROJECT / 'Setup.sh'} first")


def import_tensorflow():
    """Import TensorFlow without its remarks on kernels and missing graphics drivers.

    They are written before any of its log levels is in force, straight to the process's error stream; what goes wrong
    for good is an exception all the same.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    errors = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        tensorflow = importlib.import_module("tensorflow")
        tensorflow.config.list_physical_devices()
    finally:
        os.dup2(errors, 2)
        os.close(errors)


def parser(description):
    """The options that every entry script has.

    Args:
      description: the script's docstring, shown by --help as it stands.
    Returns:
      argparse.ArgumentParser with `confs` and `settings`.
    """
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
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
    return options


def run(main, packages):
    """Run a script's `main` and turn what goes wrong into one line and an exit code.

    Args:
      main: callable without arguments; returns the exit code.
      packages: what the script needs, SERVING or TRAINING.
    Returns:
      exit code: main's own, the error's, 1 for a file the system refuses, 130 for Ctrl-C.
    """
    try:
        # --help answers even where nothing is installed yet.
        if not {"-h", "--help"} & set(sys.argv[1:]):
            hand_over(packages)
        return main()
    except ALLError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # The reader, such as `head`, has gone; the interpreter's last flush must not fail on it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno is None:
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(f"Error: {where}{error.strerror}; nothing was left half-written", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
