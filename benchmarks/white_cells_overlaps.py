"""Which images of the white-cell model's splits overlap, and what those in the test do to its metrics.

python3 benchmarks/white_cells_overlaps.py MANIFEST IMAGES [IMAGES ...]
python3 benchmarks/white_cells_overlaps.py MANIFEST IMAGES --similar 0.65   # align far more pairs than Data.py does

MANIFEST is the manifest of the model's data set (Model/WhiteCells/Data/WhiteCells_manifest.json after
`Trainer.py WhiteCells`), in which the files are found by their content, so folders and names of IMAGES do not matter.
The present search of Data.py compares every pair of images of two of its parts: train, validation, test, and those that
were left out because they show the picture of a test image, which it should find again. The shipped model then
classifies the held-out images once, and its metrics are computed with and without the images that overlap one of
training or validation. The first metrics must be those of the model card. Nothing is trained or written.
"""

import argparse
import hashlib
import json
import pathlib
import sys
import tempfile

import numpy

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from Classes.common import config
from Classes.dataset import crop_descriptors, decoding, grouping, image_records, near_duplicates, perceptual_hash
from Classes.evaluation import cell_types
from Classes.imaging import decode
from Classes.inference import model_card, openvino_backend

CARD = pathlib.Path(__file__).resolve().parents[1] / "Model/WhiteCells/WhiteCells.json"

# The part of the test folder that measures the model; the rest compares backbones.
HELD_OUT = "/val/"

LEFT_OUT = "left out"
ROLES = ("train", "validation", "test", LEFT_OUT)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=pathlib.Path)
    parser.add_argument("folders", metavar="IMAGES", type=pathlib.Path, nargs="+")
    words = "similarity of nuclei from which a pair is aligned (default: that of Data.py, %(default)s)"
    parser.add_argument("--similar", type=float, default=crop_descriptors.CANDIDATE, help=words)
    options = parser.parse_args(arguments)
    crop_descriptors.CANDIDATE = options.similar
    manifest = json.loads(options.manifest.read_text())
    card = model_card.load_model_card(CARD, cell_types=True)
    same = manifest["content_sha256"] == card.data["manifest_sha256"]
    print(f"{options.manifest}: {'the' if same else 'NOT the'} data set that {CARD.name} was trained from")
    files = files_by_content(options.folders)
    parts = rows_by_role(manifest, files)
    print(", ".join(f"{role} {len(rows)}" for role, rows in parts.items()))
    with tempfile.TemporaryDirectory() as folder:
        settings = config.load_config(None, [f"JobDir={folder}"])
        pairs = sorted(find_pairs(settings, parts, files))
    for one, other, kind, similarity in pairs:
        print(f"{' '.join(one)} / {' '.join(other)}: {kind} {similarity:.3f}")
    again = {name for one, other, *_ in pairs for role, name in (one, other) if role == LEFT_OUT}
    print(f"{len(again)} of the {len(parts[LEFT_OUT])} images that were left out of training are found again")
    learned = [pair for pair in pairs if {pair[0][0], pair[1][0]} in ({"test", "train"}, {"test", "validation"})]
    overlapped = {name for pair in learned for role, name in pair[:2] if role == "test"}
    tests = [row for row in parts["test"] if HELD_OUT in row["file"]]
    probabilities = classify(card, settings, [files[row["sha256"]] for row in tests])
    clean = [number for number, row in enumerate(tests) if row["file"] not in overlapped]
    print(
        f"{len(overlapped)} test images overlap a learned one, {len(tests) - len(clean)} of the {len(tests)} held-out"
    )
    report("all held-out images", card, tests, probabilities)
    report("without the overlapping ones", card, [tests[number] for number in clean], probabilities[clean])
    return 0


def rows_by_role(manifest, files):
    """Return {role: rows of the manifest whose file was found}; the rows of images that were left out have no hash."""
    by_name = {path.name: sha256 for sha256, path in files.items()}
    tests = {row["sha256"] for row in manifest["tests"]}
    rows = [
        {"file": row["file"], "sha256": by_name.get(row["file"].split("/")[-1], "")} for row in manifest["held_out"]
    ]
    # The others have the content of a test image, under another name.
    left_out = [row for row in rows if row["sha256"] and row["sha256"] not in tests]
    parts = dict(zip(ROLES, (*manifest["splits"].values(), manifest["tests"], left_out), strict=True))
    found = {role: [row for row in rows if row["sha256"] in files] for role, rows in parts.items()}
    missing = sum(map(len, parts.values())) - sum(map(len, found.values()))
    if missing:
        print(f"{missing} images of the manifest are not in IMAGES")
    return found


def files_by_content(folders: list[pathlib.Path]) -> dict[str, pathlib.Path]:
    """Return {SHA-256: file} of the images below the folders."""
    found = (path for folder in folders for path in sorted(folder.rglob("*.jpg")))
    return {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in found}


def find_pairs(settings, parts, files):
    """Yield ((role, name), (role, name), kind, similarity) of all pairs of one picture in two parts."""
    images = [(str(files[row["sha256"]]), role, number) for number, role in enumerate(ROLES) for row in parts[role]]
    names = {row["sha256"]: (role, row["file"]) for role in ROLES for row in parts[role]}
    nothing = grouping.Assignment({}, {}, [], [], [])
    run = decoding.Decoding(settings)
    records, _ = image_records.decode_all(settings, image_records.ImageRecord, images, nothing, run)
    records = [record for record in records if record.described >= 0]

    def across(one, other) -> bool:
        return one.class_name != other.class_name

    def pair(one, other, kind, similarity):
        return (*sorted((names[one.sha256], names[other.sha256])), kind, float(similarity))

    prints = run.store.fingerprints_of([record.described for record in records])
    for one, other, similarity in perceptual_hash.matching_pairs(prints):
        if across(records[one], records[other]):
            yield pair(records[one], records[other], "near duplicate", similarity)
    for one, other, similarity in near_duplicates.overlapping(settings, records, run.store, across):
        yield pair(one, other, "overlapping crop", similarity)


def classify(card, settings, files) -> numpy.ndarray:
    """Return the probabilities of the types, float [N, classes]."""
    limits = decode.decode_limits(settings)
    with openvino_backend.OpenVINOBackend(card, "CPU", "f32") as backend:
        read = (card.input_spec.decode_and_resize(path, limits) for path in files)
        return numpy.concatenate([backend.classify(image[None]) for image in read])


def report(what, card, tests, probabilities) -> None:
    labels = [cell_types.label_of(pathlib.Path(row["file"]).name) or "" for row in tests]
    metrics = cell_types.evaluate_cell_types(labels, probabilities, card.classes, [row["group"] for row in tests])
    for kind in ("groups", "types"):
        found = metrics[kind]
        values = ", ".join(f"{name} {interval(found[name])}" for name in ("macro_f1", "accuracy"))
        print(f"{what}: {found['images']} images, {kind}: {values}, ECE {found['ece']:.4f}")


def interval(metric) -> str:
    return f"{metric['value']:.4f} ({metric['interval'][0]:.4f} to {metric['interval'][1]:.4f})"


if __name__ == "__main__":
    sys.exit(main())
