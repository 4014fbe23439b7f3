"""Whether two-class runs of this clone and of another one are identical to the bit.

python3 benchmarks/two_class_identity.py /path/to/another/clone                  # synthetic smears
python3 benchmarks/two_class_identity.py /path/to/another/clone --images FOLDER  # class folders 0 and 1

Runs Data.py, Trainer.py and Classifier.py --json of both clones on the same images, once for the last layer on the
backbone's features and once for a whole small network, and compares the shards, every variable of the checkpoint, the
frozen graph, the operating point and the probabilities. Exit code 1 if anything differs.
"""

import argparse
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent.parent

# What is trained, with the settings of both clones.
SHIPPED = "Model/WhiteCells/WhiteCells.pb"
RUNS = {
    "last layer": ["Epochs=3", f"Pretrained={HERE / SHIPPED}"],
    "whole network": ["Network=AllCNN", "Epochs=1", "Pretrained=none"],
}
RESULT = ("class", "verdict", "confidence", "low", "uncertain", "correct")
POINT = ("threshold", "temperature", "uncertain", "classes", "positive")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clone", type=pathlib.Path, help="the other clone")
    parser.add_argument("--images", type=pathlib.Path, help="class folders 0 and 1 (default: synthetic smears)")
    parser.add_argument("--count", type=int, default=60, help="images to use (default: %(default)s)")
    options = parser.parse_args(arguments)
    same = True
    with tempfile.TemporaryDirectory() as folder:
        images = collect(options.images, options.count, pathlib.Path(folder) / "images")
        for name, settings in RUNS.items():
            found = [run(clone, images, settings, pathlib.Path(folder)) for clone in (HERE, options.clone.resolve())]
            for what in found[0]:
                equal = found[0][what] == found[1][what]
                same = same and equal
                print(f"{name}: {what}: {'identical' if equal else 'DIFFERENT'} ({len(found[0][what])})")
    return 0 if same else 1


def collect(source: pathlib.Path | None, count: int, folder: pathlib.Path) -> pathlib.Path:
    """Copy the same number of images of both classes to a folder; without a source, draw synthetic smears."""
    if source is None:
        script(HERE, "Data.py", ["Demo"], folder.parent / "demo", [])
        source = folder.parent / "demo/Model/Data"
    for name in ("0", "1"):
        (folder / name).mkdir(parents=True)
        files = sorted(path for path in (source / name).iterdir() if path.is_file())
        for path in files[: count // 2]:
            shutil.copyfile(path, folder / name / path.name)
    return folder


def run(clone: pathlib.Path, images: pathlib.Path, settings: list[str], parent: pathlib.Path) -> dict:
    """Return {what: {name: hash or values}} of a run of a clone's scripts on the images."""
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        root = pathlib.Path(folder)
        shutil.copytree(images, root / "Model/Data")
        script(clone, "Data.py", [], root, settings)
        script(clone, "Trainer.py", [], root, settings)
        result = root / "result.json"
        sources = [str(images / "0"), str(images / "1"), "--json", str(result), "--labels", "folders"]
        script(clone, "Classifier.py", sources, root, settings)
        card = json.loads((root / "Model/ALLGraph.json").read_text())
        rows = json.loads(result.read_text())["images"]
        return {
            "shards": {path.name: records(path) for path in root.glob("Model/Data/*.tfrecord")},
            "variables": variables(root / "Model/_logs"),
            "frozen graph": {"graph": digest((root / "Model/ALLGraph.pb").read_bytes())},
            "operating point": {key: card[key] for key in POINT},
            "probabilities": {
                pathlib.Path(row["file"]).name: {key: row[key] for key in row if key.startswith("probability_")}
                for row in rows
            },
            "results": {
                pathlib.Path(row["file"]).name: [
                    row[key] for key in ("class", "verdict", "confidence", "low", "correct")
                ]
                for row in rows
            },
        }


def script(clone: pathlib.Path, name: str, arguments: list[str], root: pathlib.Path, settings: list[str]) -> None:
    """Run a script of a clone with its files in `root`; the number of threads is fixed, because it orders sums."""
    root.mkdir(exist_ok=True)
    values = [f"NetworkPath={root}", "Device=CPU", "Precision=f32", "AuditImages=0", "AllowDatasetBias=true", *settings]
    command = [sys.executable, str(clone / name), *arguments]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1")
    for value in values:
        command += ["--set", value]
    done = subprocess.run(command, cwd=clone, env={**os.environ, **threads}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{clone / name}: exit code {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def records(path: pathlib.Path) -> str:
    """Return the hash of the records of a shard in their order, whatever the order of the features in a record.

    Versions before balanced sampling wrote the features of a record in an order that differed between processes.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    found = (tf.train.Example.FromString(each) for each in tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
    return digest(b"".join(example.SerializeToString(deterministic=True) for example in found))


def variables(folder: pathlib.Path) -> dict[str, str]:
    """Return the hash of every variable of the last checkpoint in a folder."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(folder))
    return {name: digest(reader.get_tensor(name).tobytes()) for name in reader.get_variable_to_shape_map()}


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
