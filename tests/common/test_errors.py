import errno
import os
import pickle
import sys

import pytest

from Classes.common import errors
from Classes.common.translation import Message
from tests.support.processes import python

CLASSES = [value for value in vars(errors).values() if isinstance(value, type) and value.__module__ == errors.__name__]


def test_there_is_one_tree():
    assert all(issubclass(each, errors.ALLError) for each in CLASSES)
    assert all(each.__doc__ for each in CLASSES)


def test_a_wrong_configuration_leaves_with_2_as_a_wrong_option_does():
    assert errors.ConfigurationError("").exit_code == 2
    assert errors.DataError("").exit_code == 1


def test_each_class_has_a_code_of_its_own_and_an_error_can_have_a_closer_one():
    assert len({each.code for each in CLASSES}) == len(CLASSES)
    assert errors.DataError("").code == "data"
    error = pickle.loads(pickle.dumps(errors.DataError("shards are gone", code="no_shards")))
    assert (str(error), error.code) == ("shards are gone", "no_shards")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Im047_1.jpg", "Im047_1.jpg"),
        ("Größe 細胞 😀 ≥\t1", "Größe 細胞 😀 ≥\t1"),
        ("a\r\nERROR forged", "a\\x0d\\x0aERROR forged"),
        ("\x1b[2J\x07\x00", "\\x1b[2J\\x07\\x00"),
        ("\x7f\x85\x9b", "\\x7f\\x85\\x9b"),
        ("a\u2028b\u2029c", "a\\u2028b\\u2029c"),
        ("gpj.\u202eexe", "gpj.\\u202eexe"),
        (b"\xff.jpg".decode(errors="surrogateescape"), "\\udcff.jpg"),
    ],
)
def test_one_line_shows_what_could_break_or_forge_it(text, shown):
    assert errors.escape_control_chars(text) == shown
    assert len(errors.escape_control_chars(text).splitlines()) == 1
    errors.escape_control_chars(text).encode()


def test_one_line_takes_an_error_too():
    assert errors.escape_control_chars(errors.DataError("a\nb")) == "a\\x0ab"


def test_the_command_line_needs_only_the_standard_library():
    script = (
        "import sys; import Classes.common.cli, Classes.common.errors; print(*[n for n, m in sys.modules.items() if m])"
    )
    found = python(script)
    imported = {name.partition(".")[0] for name in found.stdout.split() if not name.startswith("_")}
    # What a virtual environment's own start-up files import is not ours.
    started = python("import sys; print(*sys.modules)")
    assert imported - set(sys.stdlib_module_names) - set(started.stdout.split()) == {"Classes"}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/x"), os.strerror(errno.ENOSPC)),
        (OSError("image file is truncated"), "image file is truncated"),
        (ValueError("line 3: not a number"), "line 3: not a number"),
        (errors.DataError(Message("{file}: damaged", file="x")), "x: damaged"),
        (KeyError("classes"), "KeyError: 'classes'"),
        (EOFError(), "EOFError"),
    ],
)
def test_a_reason_has_neither_number_nor_path(error, reason):
    assert errors.error_reason(error) == reason


def test_the_root_cause_is_what_libraries_wrapped():
    first = ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
    try:
        try:
            try:
                raise first
            except OSError as error:
                raise RuntimeError("object at 0x1") from error
        except RuntimeError:
            raise ValueError("pool")  # noqa: B904 a library that does not name its cause
    except ValueError as error:
        assert errors.root_cause(error) is first
