"""Real ImageNet weights, end to end: transplanted, and asked what is on real photographs.

    python benchmarks/imagenet_weights.py

MobileNet V2 is torchvision's own file, the photographs are those of scikit-image: see `_datasets.py`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from _datasets import mobilenet_v2, photographs
from cnnatomy.runs import Trained

# What is on them, in ImageNet's words: any of these is right. The rocket, at night on its launch pad, is taken for an
# obelisk first.
CONTENT = {
    "chelsea.png": {"tabby", "tiger cat", "Egyptian cat"},
    "coffee.png": {"espresso", "cup", "coffee mug"},
    "camera.png": {"tripod"},
    "motorcycle_left.png": {"motor scooter", "moped"},
    "rocket.jpg": {"missile", "projectile", "space shuttle"},
}


def main() -> None:
    """Prints what the network says of each photograph, and how often it is right."""
    images = [photographs() / name for name in CONTENT]
    with tempfile.TemporaryDirectory() as folder:
        run = str(Path(folder) / "run")
        transplant = ["weights", "mobilenet-v2", "--from", str(mobilenet_v2()), "--run", run]
        subprocess.run([sys.executable, "-m", "cnnatomy", *transplant], check=True)
        predictions = list(Trained.load(run).predict(images, most=5))
    first = among = 0
    for prediction in predictions:
        wanted, names = CONTENT[prediction.path.name], [name for name, _ in prediction.classes]
        first += names[0] in wanted
        among += bool(wanted & set(names))
        print(f"{prediction.path.name:<20}", ", ".join(f"{name} {share:.0%}" for name, share in prediction.classes))
    print(f"right at once: {first} of {len(CONTENT)}; right within five: {among} of {len(CONTENT)}")


if __name__ == "__main__":
    main()
