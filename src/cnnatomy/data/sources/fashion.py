"""Fashion-MNIST where Debian's package `dataset-fashion-mnist` puts it."""

from __future__ import annotations

from pathlib import Path

from cnnatomy.data.image_set import ImageSet
from cnnatomy.data.sources import idx
from cnnatomy.errors import UserError

FOLDER = Path("/usr/share/datasets/fashion-mnist")


def recognises(name: str) -> bool:
    """By its name."""
    return name == "fashion-mnist"


def read(name: str) -> ImageSet:
    """Its IDX files."""
    if not FOLDER.is_dir():
        raise UserError(
            "fashion-mnist is not installed: apt-get install dataset-fashion-mnist, or name a folder of IDX files"
        )
    return idx.read(str(FOLDER))
