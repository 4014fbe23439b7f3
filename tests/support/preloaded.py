"""What tests.support.faults loads once for all its processes."""

from Classes.common import cli

cli.import_tensorflow()

from Classes.training import cross_validation, train  # noqa: E402, F401
