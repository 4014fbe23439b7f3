"""Image files by their endings, and those that a command line names."""

import pathlib

from Classes.Errors import DataError


def is_image(configuration, path):
    """Whether a path's name has one of the endings in `ValidIType`, in either case."""
    return path.name.lower().endswith(tuple(ending.lower() for ending in configuration["ValidIType"]))


def find(configuration, sources=()):
    """The image files of files and folders.

    Args:
      configuration: Configuration; files of folders are taken by `ValidIType`, at any depth.
      sources: paths; none means `TestImagePath`. A file that is named itself is taken whatever its ending.
    Returns:
      list of pathlib.Path, each once, in the order given and by name within a folder.
    Raises:
      DataError: a path is missing, or there is no image at all.
    """
    sources = [pathlib.Path(source) for source in sources] or [configuration.path("TestImagePath")]
    found = {}
    for source in sources:
        if source.is_dir():
            inside = (path for path in sorted(source.rglob("*")) if is_image(configuration, path))
            found.update((path, None) for path in inside if path.is_file() and not path.name.startswith("."))
        elif source.exists():
            found[source] = None
        elif source != configuration.path("TestImagePath"):
            raise DataError(f"{source}: there is no such file or folder; nothing was classified")
    if not found:
        where = ", ".join(str(source) for source in sources)
        raise DataError(
            f"{where}: no image; put images named like Im047_0.jpg (_0 healthy, _1 ALL) there, "
            "or name a FILE-OR-FOLDER behind the command"
        )
    return list(found)


def shown(path):
    """A path for people: relative to the working folder where it lies below it, always encodable."""
    path = pathlib.Path(path)
    folder = pathlib.Path.cwd()
    path = path.relative_to(folder) if path.is_relative_to(folder) else path
    return str(path).encode("utf-8", "replace").decode()
