"""The class folders: which image files there are, and whether they are what the configuration expects."""

import logging

from Classes import Demo, Sources
from Classes.Errors import DataError

log = logging.getLogger("Data")


def find(configuration, folder=None):
    """The image files of every class folder.

    Args:
      configuration: Configuration.
      folder: where the class folders are; None is DatasetDir.
    Returns:
      ({class: [paths, by name]}, classes in the order of their labels; [class/file that is no image by its ending]).
    Raises:
      DataError: the folders are not what the configuration expects.
    """
    folder = folder or configuration.path("DatasetDir")
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder; make it, with one folder of images a class")
    # The server's captured images have no class yet.
    left_out = configuration.path("CaptureDir")
    names = [entry.name for entry in visible(folder) if entry.is_dir() and entry != left_out]
    files, ignored = {}, []
    for name in names:
        entries = visible(folder / name)
        files[name] = [path for path in entries if Sources.is_image(configuration, path) and path.is_file()]
        taken = set(files[name])
        ignored += [filename(name, path) for path in entries if path not in taken]
    if ignored:
        log.warning(
            "%d entries of the class folders are no files of the endings in ValidIType and are left out: %s%s",
            len(ignored),
            ", ".join(ignored[:5]),
            ", …" if len(ignored) > 5 else ".",
        )
    _check_folders(configuration, folder, files)
    return files, ignored


def visible(folder):
    """The entries of a folder by name, without those that systems hide."""
    return sorted(path for path in folder.iterdir() if path.name[0] != ".")


def _check_folders(configuration, folder, files):
    names, listed = list(files), ", ".join(files)
    if not any(files.values()):
        raise DataError(
            f"{folder}: holds no images; put them into {folder / '0'} (healthy) and {folder / '1'} (leukemic), "
            "or draw synthetic ones with python3 Data.py Demo"
        )
    if len(names) == 1:
        raise DataError(f"{folder}: holds the one class {listed}; a classifier needs two, one folder each")
    if len(names) != configuration["NumClasses"]:
        raise DataError(
            f"{folder}: holds {len(names)} class folders ({listed}), NumClasses is {configuration['NumClasses']}; "
            f"set NumClasses to {len(names)} or move away what is no class"
        )
    if configuration["PositiveClass"] not in names:
        raise DataError(
            f"{folder}: has no class {configuration['PositiveClass']} (PositiveClass); set PositiveClass to the folder "
            f"that means ALL: {listed}"
        )
    for name in names:
        if not files[name]:
            raise DataError(f"{folder / name}: holds no images; put some into it, or remove the folder")


def synthetic(folder, files):
    """Whether the images are drawn ones; drawn and real ones together would be a data set of nothing."""
    drawn = [path.name.startswith(Demo.PREFIX) for paths in files.values() for path in paths]
    if any(drawn) and not all(drawn):
        raise DataError(
            f"{folder}: synthetic smears ({Demo.PREFIX}…) lie among other images; remove them with "
            "python3 Data.py Demo --remove"
        )
    return any(drawn)


def filename(class_name, path):
    # A name that is no UTF-8 could neither be logged nor written.
    return f"{class_name}/{path.name}".encode(errors="surrogateescape").decode(errors="replace")
