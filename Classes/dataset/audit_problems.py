"""What a person should check in the images, the most serious first, each with the commands that help."""

import itertools
import pathlib
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from Classes.common.config import Configuration
from Classes.common.paths import PROJECT
from Classes.common.translation import Message
from Classes.dataset import discovery, leakage_probe, perceptual_hash
from Classes.dataset.audit_record import TEST

# Smallest ratio of the source images of the smallest and the largest class.
MIN_BALANCE = 0.5

# Beside the folder of the images, so that Data.py does not take it for a class.
SET_ASIDE = "SetAside"

# Key of a pair in Data.json, code, title, advice.
LEAK_KINDS = (
    (
        "across_splits",
        "leak_between_splits",
        Message("Leak between the splits"),
        Message("Make the split again. Data.py keeps such images in one split. Then train again."),
    ),
    (
        "across_test",
        "leak_into_test",
        Message("Leak into the test images"),
        Message("Make the split again. Data.py leaves out images that belong to test images. Then train again."),
    ),
    (
        "across_classes",
        "several_classes",
        Message("One image in several classes"),
        Message(
            "Set the copies in the wrong class aside; only a person knows which they are. Until then, Data.py leaves "
            "all of them out."
        ),
    ),
)

SPLIT_AGAIN = (Message("Make the split again and train"), "python3 Data.py\npython3 Trainer.py\npython3 Validation.py")

REPLACE = (
    Message("Replace the split of the folders and train"),
    "python3 Data.py --set ExistingSplit=replace\npython3 Trainer.py\npython3 Validation.py",
)


def list_problems(configuration: Configuration, findings: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what a person should check.

    Args:
      configuration: Configuration.
      findings: from audit.summarize, with `unreadable`.
    Returns:
      list for JSON of {"code", "title", "text", "advice", "commands": [{"title", "command"}]}; a command is text for a
      shell in the project's folder.
    """
    return [
        *_leaks(configuration, findings),
        *_biases(findings["probes"]),
        *_copies(configuration, findings),
        *_unusual(configuration, findings),
        *_imbalance(findings["classes"]),
    ]


def set_aside_commands(configuration: Configuration, names: Iterable[str]) -> str:
    """Return shell commands that move images to a folder beside the folder of the images; "" if there is none to move.

    Args:
      configuration: Configuration.
      names: "class/file", or "Test/file" for a test image. A name that cannot be copied from a page, because it has
        control characters or is not UTF-8, is left out.
    """
    lines = []
    names = [name for name in set(names) if name.isprintable() and image_path(configuration, name).is_file()]
    for folder, group in itertools.groupby(sorted(names), lambda name: str(pathlib.PurePosixPath(name).parent)):
        target = shlex.quote(_shown(discovery.image_folder(configuration).parent / SET_ASIDE / folder) + "/")
        lines.append(f"mkdir -p {target}")
        lines += [f"mv -n -- {shlex.quote(_shown(image_path(configuration, name)))} {target}" for name in group]
    return "\n".join(lines)


def image_path(configuration: Configuration, name: str) -> pathlib.Path:
    """Return the path of an image that the audit calls "class/file" or "Test/file"."""
    folder, _, rest = name.partition("/")
    return (
        configuration.path("TestImagePath") / rest if folder == TEST else discovery.image_folder(configuration) / name
    )


def _shown(path: pathlib.Path) -> str:
    return str(path.relative_to(PROJECT)) if path.is_relative_to(PROJECT) else str(path)


def _problem(
    code: str, title: Message, text: Message, advice: Message, *commands: tuple[Message, str]
) -> dict[str, Any]:
    found = [{"title": name, "command": command} for name, command in commands if command]
    return {"code": code, "title": title, "text": text, "advice": advice, "commands": found}


def _duplicates(findings: dict[str, Any]) -> list[dict[str, Any]]:
    similar = [pair for pair in findings["alike"] if pair["similarity"] >= perceptual_hash.MATCH_THRESHOLD]
    return [*findings["exact"], *similar]


def _leaks(configuration: Configuration, findings: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    for border, code, title, advice in LEAK_KINDS:
        # Crops of one slide can show different cells, so their classes may differ.
        crops = [] if border == "across_classes" else findings["crops"]
        crossing = [each["files"] for each in _duplicates(findings) + crops if each[border]]
        if not crossing:
            continue
        first, second = crossing[0][:2]
        text = Message(
            "{count} found, for example {first} and {second}", count=len(crossing), first=first, second=second
        )
        commands = [SPLIT_AGAIN]
        if border != "across_classes" and (findings.get("data_set") or {}).get("split"):
            advice, commands = (
                Message("The split of the folders cannot be kept. Make a new one, then train."),
                [REPLACE],
            )
        if border == "across_classes":
            files = {file for pair in crossing for file in pair}
            commands = [
                (
                    Message("Set the copies in class {name} aside", name=name),
                    set_aside_commands(configuration, (file for file in files if f"/{name}/" in f"/{file}")),
                )
                for name in findings["classes"]
            ]
        found.append(_problem(code, title, text, advice, *commands))
    return found


def _biases(probes: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for name, probe in probes.items():
        predictable = leakage_probe.predictable_classes(probe, leakage_probe.WARN_AUC)
        if name in EXPECTED or not predictable:
            continue
        text = _bias_text(PROBE_NAMES.get(name, name), probe, predictable)
        commands = [
            (Message("After you added images, check again"), "python3 Data.py Check"),
        ]
        advice = Message("No command can repair this. Take all classes from the same slides, cameras and programs.")
        if name == "background colour":
            advice = Message(
                "No command can repair this. Take all classes from the same slides and cameras. Training with random "
                "stain and color changes makes the model depend less on color."
            )
            varied = "python3 Trainer.py --set TrainableScopes=Mixed_7a --set DistortionStain=0.2"
            commands.append((Message("Train with random stain changes (slower)"), varied))
        found.append(_problem("dataset_bias", Message("Possible dataset bias"), text, advice, *commands))
    return found


def _bias_text(name: str, probe: dict[str, Any], predictable: Sequence[tuple[str, Mapping[str, Any]]]) -> Message:
    if "classes" in probe:
        return Message(
            "the {name} alone predicts the class ({found})", name=name, found=leakage_probe.describe(predictable)
        )
    return Message(
        "the {name} alone predicts the class with ROC AUC {auc:.3f} ({interval})",
        name=name,
        auc=probe["auc"],
        interval=leakage_probe.interval_text(probe),
    )


# The compression depends on the content of an image, so bytes per pixel are shown, but are not a problem.
EXPECTED = ("bytes per pixel",)

PROBE_NAMES = {
    "background colour": Message("background color"),
    "image size": Message("image size"),
    "file format": Message("file format"),
    "file format and metadata": Message("file format and metadata"),
    "bytes per pixel": Message("bytes per pixel"),
}


def _counted(found: Sequence[Any], one: Message, many: Message) -> Message:
    """Return the text for one finding or for any other number of them."""
    return one if len(found) == 1 else many


def _copies(configuration: Configuration, findings: dict[str, Any]) -> list[dict[str, Any]]:
    duplicates, borders = _duplicates(findings), [border for border, *_ in LEAK_KINDS]
    rest = [pair for pair in findings["alike"] if pair not in duplicates or not any(pair[border] for border in borders)]

    def second_files(pairs: Sequence[dict[str, Any]]) -> str:
        return set_aside_commands(configuration, (file for pair in pairs for file in pair["files"][1:]))

    kinds = (
        (
            "exact_duplicates",
            Message("Exact duplicates"),
            findings["exact"],
            _counted(
                findings["exact"],
                Message("1 image exists under several names"),
                Message("{count} images exist under several names", count=len(findings["exact"])),
            ),
            Message("Data.py uses each once, so nothing has to be done."),
            (Message("Set all but the first copy aside"), second_files(findings["exact"])),
        ),
        (
            "near_duplicates",
            Message("Near duplicates"),
            rest,
            _counted(
                rest,
                Message("1 pair of images looks the same"),
                Message("{count} pairs of images look the same", count=len(rest)),
            ),
            Message("Check below whether they are. Data.py keeps both images of a pair in one split."),
            (Message("Set the second image of each pair aside"), second_files(rest)),
        ),
        (
            "overlapping_crops",
            Message("Overlapping crops"),
            findings["crops"],
            _counted(
                findings["crops"],
                Message("1 pair of images overlaps"),
                Message("{count} pairs of images overlap", count=len(findings["crops"])),
            ),
            Message("Data.py keeps each pair in one split, so nothing has to be done."),
            (Message("Set the second image of each pair aside"), second_files(findings["crops"])),
        ),
    )
    copies = [_problem(code, title, text, advice, fix) for code, title, found, text, advice, fix in kinds if found]
    return _unreadable(configuration, findings["unreadable"]) + copies


def _unreadable(configuration: Configuration, found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    if not found:
        return []
    text = _counted(
        found,
        Message("1 file cannot be read or is blank"),
        Message("{count} files cannot be read or are blank", count=len(found)),
    )
    advice = Message("Data.py leaves them out. Replace them with intact copies, or set them aside.")
    fix = (Message("Set them aside"), set_aside_commands(configuration, (row["file"] for row in found)))
    return [_problem("unreadable", Message("Unreadable"), text, advice, fix)]


def _unusual(configuration: Configuration, findings: dict[str, Any]) -> list[dict[str, Any]]:
    sizes, modes = findings["odd_sizes"], findings["odd_modes"]
    kinds = (
        (
            "unusual_sizes",
            Message("Unusual sizes"),
            sizes,
            _counted(
                sizes,
                Message("1 image is much larger or smaller than the others, or too small"),
                Message("{count} images are much larger or smaller than the others, or too small", count=len(sizes)),
            ),
            Message("Cut them out again at the size of the others, or set them aside."),
        ),
        (
            "unusual_modes",
            Message("Unusual modes"),
            modes,
            _counted(
                modes,
                Message("1 image has another mode than the others, such as grayscale"),
                Message("{count} images have another mode than the others, such as grayscale", count=len(modes)),
            ),
            Message("Save them again as the others are saved, or set them aside."),
        ),
    )
    return [
        _problem(
            code,
            title,
            text,
            advice,
            (Message("Set them aside"), set_aside_commands(configuration, (row["file"] for row in found))),
        )
        for code, title, found, text, advice in kinds
        if found
    ]


def _imbalance(classes: dict[str, Any]) -> list[dict[str, Any]]:
    sizes = [row["originals"] for name, row in classes.items() if name != TEST]
    if not sizes or min(sizes) >= MIN_BALANCE * max(sizes):
        return []
    text = Message(
        "the smallest class has {smallest} source images, the largest {largest}",
        smallest=min(sizes),
        largest=max(sizes),
    )
    advice = Message(
        "Add images of the smaller class, or give it more weight in training. Rely on sensitivity and specificity, not "
        "on accuracy."
    )
    weighted = (Message("Train with class weights"), "python3 Trainer.py --set ClassWeights=balanced")
    return [_problem("class_imbalance", Message("Class imbalance"), text, advice, weighted)]
