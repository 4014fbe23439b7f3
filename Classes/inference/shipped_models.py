"""The models that come with the project, such as WhiteCells."""

import pathlib

from Classes.common.config import Configuration
from Classes.common.errors import ConfigurationError
from Classes.common.translation import Message

# Folder of the models that come with the project: <name>/<name>.pb.
SHIPPED_FOLDER = "Model"

# Finds cells and classifies nothing.
FINDER = "Finder"


def model_path(configuration: Configuration, name: str) -> pathlib.Path:
    """Return the graph that `--model` names: a file, or a model that comes with the project, such as WhiteCells.

    Raises:
      ConfigurationError: `unknown_model`.
    """
    folder = configuration.root / SHIPPED_FOLDER
    path = pathlib.Path(name).absolute().with_suffix(".pb")
    if pathlib.Path(name).suffix not in (".pb", ".json"):
        path = folder / name / f"{name}.pb"
    if not path.is_file():
        known = sorted(each.stem for each in folder.glob("*/*.pb") if each.stem == each.parent.name != FINDER)
        raise ConfigurationError(
            Message(
                "--model {name}: {path} does not exist. Name a .pb file, or one of: {known}.",
                name=name,
                path=path,
                known=", ".join(known) or "-",
            ),
            "unknown_model",
        )
    return path
