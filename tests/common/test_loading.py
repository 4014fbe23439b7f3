"""While packages load, Python does not look for garbage; afterwards it does."""

import gc
import sys
import types

import pytest

from Classes.common.loading import loading


@pytest.fixture
def collections():
    """List of the garbage collections during the test."""
    found = []

    def note(phase, info):
        if phase == "start":
            found.append(info["generation"])

    gc.callbacks.append(note)
    yield found
    gc.callbacks.remove(note)
    gc.unfreeze()


def make_objects():
    """Make more objects than the collector lets pass."""
    return [[] for _ in range(10 * gc.get_threshold()[0])]


def test_no_garbage_is_looked_for_while_packages_load(collections, monkeypatch):
    gc.unfreeze()
    with loading():
        collections.clear()
        kept = make_objects()
        assert not collections
        monkeypatch.setitem(sys.modules, "a_package", types.ModuleType("a_package"))
    # What was loaded is not looked at later.
    assert gc.get_freeze_count() > len(kept)
    make_objects()
    assert collections


def test_nothing_is_put_aside_if_everything_was_loaded_before(collections):
    gc.unfreeze()
    with loading():
        pass
    assert gc.get_freeze_count() == 0 and gc.isenabled()


def test_an_error_ends_it_too(collections):
    with pytest.raises(ImportError), loading():
        raise ImportError
    assert gc.isenabled()


def test_who_has_switched_the_collector_off_keeps_it_off(collections):
    gc.disable()
    try:
        with loading():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
