"""What tests.faults loads once for all its processes."""

from Classes import Entry

Entry.import_tensorflow()

from Classes import Audit, Augmentation, Data, Export, Folds, Freezing, Training, Validation  # noqa: E402, F401
