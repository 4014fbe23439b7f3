"""Time the pipeline on real cells: Data.py and Trainer.py, the first time and again from the feature cache.

python3 benchmarks/pipeline.py CELLS WEIGHTS          # CELLS has folders 0, 1 and Test; WEIGHTS is as for Pretrained
python3 benchmarks/pipeline.py CELLS WEIGHTS --runs 3

Works in a temporary folder and removes it. Prints seconds of whole processes, the validation metrics and the test.
"""

import argparse
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

PROJECT = pathlib.Path(__file__).resolve().parent.parent


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cells", type=pathlib.Path)
    parser.add_argument("weights", type=pathlib.Path)
    parser.add_argument("--runs", type=int, default=1)
    options = parser.parse_args(arguments)
    first, again = [], []
    with tempfile.TemporaryDirectory() as folder:
        model = pathlib.Path(folder) / "Model"
        for name in ("0", "1"):
            shutil.copytree(options.cells / name, model / "Data" / name)
        shutil.copytree(options.cells / "Test", model / "Test")
        settings = ["--set", f"NetworkPath={folder}", "--set", f"Pretrained={options.weights.resolve()}"]
        for _ in range(options.runs):
            shutil.rmtree(model / "Features", ignore_errors=True)
            for found in (first, again):
                shutil.rmtree(model / "_logs", ignore_errors=True)
                found.append([_run(script, settings)[0] for script in ("Data.py", "Trainer.py")])
        for name, found in (("first time", first), ("again", again)):
            data, trainer = (statistics.median(column) for column in zip(*found, strict=True))
            print(f"{name:10}: Data.py {data:.1f} s + Trainer.py {trainer:.1f} s = {data + trainer:.1f} s")
        wanted = ("Accuracy", "Sensitivity", "Specificity", "ROC AUC", "Testing ended")
        for script in ("Validation.py", "Classifier.py"):
            lines = _run(script, settings)[1].splitlines()
            print(*(line for line in lines if line.startswith(wanted) or "Testing ended" in line), sep="\n")
    return 0


def _run(script, settings):
    """(Seconds of the whole process, what it printed)."""
    began = time.perf_counter()
    done = subprocess.run([sys.executable, script, *settings], cwd=PROJECT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return time.perf_counter() - began, done.stdout + done.stderr


if __name__ == "__main__":
    sys.exit(main())
