"""Each change that a program makes to its files, in turn: where it can be killed or stopped, or its disk be full."""

import contextlib
import functools
import json
import os
import re
import resource
import shutil
import sys

from Classes.common import temp_files

# What Python announces before it does it; those that change a file or a folder, and where in its arguments the path is.
CHANGES = {"os.rename": 1, "os.remove": 0, "os.rmdir": 0, "os.mkdir": 0, "os.link": 1, "os.symlink": 1}

_watching = []

# What a process of its own has entered for good.
contexts = contextlib.ExitStack()


def _announced(event, arguments):
    if not _watching:
        return
    if event == "open":
        changes = isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        path = arguments[0] if changes else None
    else:
        path = arguments[CHANGES[event]] if event in CHANGES else None
    if isinstance(path, (str, bytes, os.PathLike)):
        _watching[-1](event, os.fsdecode(path))


@functools.cache
def _listen():
    # For good: what listens cannot be sent away again.
    sys.addaudithook(_announced)


@contextlib.contextmanager
def watched(folder, reached):
    """Call `reached(operation, name)` before each change that Python's own functions make to a file under `folder`.

    Args:
      folder: of the project.
      reached: gets "open" (to write), "os.rename" (onto it), "os.remove" …, and the path under `folder` without what
        is another one in every run: numbers, hashes such as those of the part files of a job, the names that
        temp_files.temp_path_for makes, the kind of a view.
    """
    _listen()
    folder = os.path.realpath(folder) + os.sep

    def on_event(event, path):
        path = os.path.abspath(path)  # noqa: PTH100 (Path.resolve would follow a link that is written or removed)
        if path.startswith(folder) and "/Logs/" not in path and not path.endswith(".lock"):
            name = str(temp_files.final_path(path.removeprefix(folder)))
            reached(event, re.sub(r"[0-9a-f]{16,}|\d+", "0", re.sub(r"__\w+", "__view", name)))

    _watching.append(on_event)
    try:
        yield
    finally:
        _watching.remove(on_event)


def whole(change):
    """A change, (operation, name), itself."""
    return change


def at_the_next(folder, known, act, distinct=whole, operations=("open", *CHANGES)):
    """A context in which `act` is called once: before the first change that is another one than those in `known`.

    So a loop meets every change of a run, one after the other, until a run makes none that is not known.

    Args:
      folder: see `watched`.
      known: set of what `distinct` returned; gets that of the change that was met.
      act: called with the operation and the name.
      distinct: what of a change, (operation, name), makes it another one.
      operations: those that are looked at.
    """
    met = []

    def reached(*change):
        if not met and change[0] in operations and distinct(change) not in known:
            met.append(change)
            known.add(distinct(change))
            act(*change)

    return watched(folder, reached)


def copied_before_every_change(folder, pattern, copies, operations):
    """Copy files of this process before each change, as a kill at this moment would leave them.

    Args:
      folder: of the project.
      pattern: of the files and folders that are copied, such as "Model/Data".
      copies: a folder that gets one copy of the project per change.
      operations: changes of these kinds are looked at, see CHANGES.
    """
    known = set()

    def copy(*change):
        if change[0] not in operations or change in known:
            return
        known.add(change)
        target = copies / f"{len(known):03}"
        for path in folder.glob(pattern):
            place = target / path.relative_to(folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if path.is_dir() else shutil.copyfile)(path, place)

    # Until the process ends.
    contexts.enter_context(watched(folder, copy))


def one_picture(change):
    """A change of the kind for which `distinct` of `at_the_next` stands: all pictures of a folder have one writer."""
    operation, name = change
    return operation, re.sub(r"[^/]+\.(png|svg)$", "picture", name)


@contextlib.contextmanager
def disk_full_at_the_next(folder, known, free_bytes):
    """A disk that is full from the next file or folder on that is made, or the first picture of a folder.

    Args:
      folder, known: see `at_the_next`; all pictures of a folder are one change.
      free_bytes: bytes that a file may have from then on; with some it is cut, not empty.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(*_):
        resource.setrlimit(resource.RLIMIT_FSIZE, (free_bytes, before[1]))

    try:
        # Something is written into what is opened, and by TensorFlow into folders.
        with at_the_next(folder, known, fill, distinct=one_picture, operations=("open", "os.mkdir")):
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def signalled_at_the_next(number, folder, noted, **how):
    """Send this process a signal at the next change, see `at_the_next`.

    Args:
      number: of the signal.
      folder: of the project.
      noted: path of a JSON file with [[operation, name], ...]; gets the change before the signal is sent.
      how: `distinct` and `operations`, see `at_the_next`.
    """
    distinct = how.get("distinct", whole)
    before = [tuple(change) for change in json.loads(noted.read_text())]

    def act(*change):
        noted.write_text(json.dumps([*before, change]))
        os.kill(os.getpid(), number)

    # Until the process ends.
    contexts.enter_context(at_the_next(folder, {distinct(change) for change in before}, act, **how))
