"""The folder of a training run: which one a training continues, and what is kept in it at the end."""

import pathlib
from typing import Any

from Classes.common import json_files, provenance
from Classes.common.config import Configuration
from Classes.dataset import tfrecords
from Classes.evaluation import runs
from Classes.inference import model_card
from Classes.networks import checkpoint_files
from Classes.training import run_identity
from Classes.training.train_state import TrainState

# In `LogDir`: the identity of the run there, and the name of its folder in `RunsDir`.
RUN = "run.json"


def open_run(
    configuration: Configuration, manifest: tfrecords.Manifest, identity: str, state: TrainState, steps_per_epoch: int
) -> pathlib.Path | None:
    """Return the folder of the run: if this training continues the run in `LogDir`, its folder, else a new one.

    A run that has ended and is trained for more epochs becomes a new run, which starts with the former rows of
    results.csv.

    Args:
      configuration: Configuration.
      manifest: of the shards.
      identity: of the run, see run_identity.
      state: from the last checkpoint.
      steps_per_epoch: steps in an epoch.
    Returns:
      The folder; None if `RunsDir` is empty.
    """
    about = {
        "identity": identity,
        "network": configuration["Network"],
        "manifest_sha256": manifest.sha256,
        "synthetic": manifest.synthetic,
        "images": {split: len(items) for split, items in manifest.splits.items()},
    }
    former = _former_run(configuration, identity)
    ended = former is not None and bool(runs.read_run(former).get("finished"))
    if former is not None and (not ended or (state.step and _has_same_length(configuration, former))):
        runs.update_run(configuration, former, about)
        return former
    if former is None or not state.step:
        return runs.create_run(configuration, about)
    folder = runs.create_run(configuration, {**about, "continues": former.name})
    if folder:
        epochs = state.step // steps_per_epoch
        runs.write_results(folder, [row for row in runs.read_results(former) if (row.get("epoch") or 0) <= epochs])
    return folder


def finish_run(configuration: Configuration, folder: pathlib.Path, prefix: pathlib.Path, frozen: TrainState) -> None:
    """Keep the checkpoint, the frozen graph and its model card in the folder of a run that has ended.

    Args:
      configuration: Configuration.
      folder: of the run.
      prefix: of the checkpoint that was frozen.
      frozen: its progress.
    """
    card = model_card.load_model_card(configuration.card, cell_types=True)
    for path in folder.glob(f"{checkpoint_files.PREFIX}*"):
        path.unlink()
    files = [prefix.with_name(prefix.name + suffix) for suffix in (checkpoint_files.DATA_SUFFIX, ".index")]
    # A checkpoint and a graph are replaced, but never changed in place, so links keep their content.
    runs.keep_files(folder, [*files, card.graph_path], link=True)
    runs.keep_files(folder, [configuration.card])
    runs.amend_run(folder, finished=provenance.utc_now_iso(), graph_sha256=card.graph_sha256, step=frozen.step)
    runs.remove_old_models(configuration, folder)


def _former_run(configuration: Configuration, identity: str) -> pathlib.Path | None:
    """Return the folder of the run in `LogDir`, if it has this identity and still exists."""
    folder = runs.runs_folder(configuration)
    try:
        saved: Any = json_files.read_json(configuration.path("LogDir") / RUN)
        name = saved["folder"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    if folder is None or not isinstance(name, str) or not runs.NAME.fullmatch(name):
        return None
    found = folder / name
    return found if saved.get("identity") == identity and runs.read_run(found).get("identity") == identity else None


def _has_same_length(configuration: Configuration, former: pathlib.Path) -> bool:
    settings = runs.read_settings(former)
    return all(settings.get(key) == configuration[key] for key in run_identity.LENGTH_KEYS)
