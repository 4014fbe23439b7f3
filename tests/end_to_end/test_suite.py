"""What the suite itself promises: which warnings fail it."""

import warnings

import pytest


def warn(module):
    warnings.warn_explicit("this is old", DeprecationWarning, "a_file.py", 1, module=module)


@pytest.mark.parametrize(
    "module", ["Classes", "Classes.networks.registry.A", "Trainer", "tests.test_suite", "benchmarks.run"]
)
def test_a_warning_of_our_own_modules_is_an_error(module):
    with pytest.raises(DeprecationWarning):
        warn(module)


@pytest.mark.parametrize("module", ["tensorflow.python.framework", "numpy", "ClassesOfOthers", "sklearn.Trainer"])
def test_a_warning_of_another_package_is_none(module):
    with warnings.catch_warnings(record=True) as warned:
        warn(module)
    assert len(warned) == 1
