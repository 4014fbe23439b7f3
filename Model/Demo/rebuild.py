"""Make the demo model and the practice images again: python3 Model/Demo/rebuild.py (some minutes on two cores).

Trains AllCNN, whose frozen graph has 720 KB, on synthetic smears, and draws practice images that are not among them.
"""

import pathlib
import shutil
import subprocess
import sys
import tempfile

import PIL.Image
import PIL.ImageFilter

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))

from Classes import Helpers
from Classes.common.paths import PROJECT
from Classes.dataset import synthetic_smears

FOLDER = PROJECT / "Model" / "Demo"
SETTINGS = ("Network=AllCNN", "Epochs=30", "LearningRate=0.0003")
STEPS = ("Data.py", "Trainer.py", "Validation.py")

# More than Data.py Demo draws, because AllCNN learns from random weights.
N_TRAINING_PER_CLASS = 400
N_PER_CLASS = 7

# Number of the first practice image; those of the training images are smaller.
FIRST = 1001


def train(folder: pathlib.Path) -> None:
    """Train and evaluate the model in `folder`, and copy the frozen graph and its model card."""
    settings = [*SETTINGS, f"NetworkPath={folder}"]
    synthetic_smears.N_PER_CLASS = N_TRAINING_PER_CLASS
    synthetic_smears.create_demo_dataset(Helpers.load_config(None, settings))
    options = [part for each in settings for part in ("--set", each)]
    for script in STEPS:
        subprocess.run([sys.executable, script, *options], cwd=PROJECT, check=True)
    for name in ("ALLGraph.pb", "ALLGraph.json"):
        shutil.copy(folder / "Model" / name, FOLDER)


def draw_images() -> None:
    """Write N_PER_CLASS smears per class, one in the colors of another stain, and one out of focus."""
    images = FOLDER / "Images"
    shutil.rmtree(images, ignore_errors=True)
    images.mkdir()
    for number in range(FIRST, FIRST + N_PER_CLASS):
        for positive in (0, 1):
            save(draw(positive, number), images / f"Synthetic_{number}_{positive}.jpg")
    number += 1
    red, green, blue = draw(1, number).split()
    save(PIL.Image.merge("RGB", (blue, red, green)), images / f"Synthetic_{number}_other_stain.jpg")
    save(draw(1, number + 1).filter(PIL.ImageFilter.GaussianBlur(12)), images / f"Synthetic_{number + 1}_blurred.jpg")


def draw(positive: int, number: int) -> PIL.Image.Image:
    """Return a smear; the seed is made as in Data.py Demo."""
    seed = Helpers.load_config()["RandomSeed"]
    return PIL.Image.fromarray(synthetic_smears.draw_smear(bool(positive), [seed, positive, number]))


def save(image: PIL.Image.Image, path: pathlib.Path) -> None:
    """Write a JPEG of about 15 KB."""
    image.save(path, quality=85)


def main() -> int:
    """Make everything; return the exit code."""
    with tempfile.TemporaryDirectory() as name:
        train(pathlib.Path(name))
    draw_images()
    return 0


if __name__ == "__main__":
    sys.exit(main())
