"""Every kind of source, in one table: help, documentation and errors are made of it."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from cnnatomy.data.dataset import Source


class SourceFile(Protocol):
    """What a file of this folder offers for its row."""

    def recognises(self, name: str) -> bool:
        """Whether `name`, as it was typed, is such a source."""

    def read(self, name: str) -> Source:
        """Finds its images without decoding any; raises `UserError` where it is not as it should be."""


@dataclass(frozen=True)
class SourceKind:
    """One kind of source: how it is written, what it is, and the file of this folder that reads it."""

    written: str
    about: str
    file: str

    def load(self) -> SourceFile:
        """The file, imported."""
        return cast(SourceFile, importlib.import_module(f"cnnatomy.data.sources.{self.file}"))


KINDS = (
    SourceKind("digits", "1,797 real handwritten digits of 8 x 8, which come with scikit-learn", "digits"),
    SourceKind("fashion-mnist", "70,000 clothes of 28 x 28, where Debian's package is installed", "fashion"),
    SourceKind("scenes:KIND", "drawn scenes with labels, numbers, mask, keypoints, objects, ...", "drawn"),
    SourceKind("hf:NAME", "a data set of the Hugging Face Hub, or a folder or file of parquet", "hub"),
    SourceKind("hf-stream:NAME", "the same, too large for memory and disk", "hub"),
    SourceKind("FILE.json", "COCO's annotations, boxes of objects; or a folder as COCO's lies", "detection"),
    SourceKind("FOLDER/emnist-CHOICE", "EMNIST's IDX files: byclass, bymerge, balanced, letters, digits", "emnist"),
    SourceKind("FOLDER", "CIFAR-10 and CIFAR-100: version for Python, binary version, PNG sheets", "cifar"),
    SourceKind("FOLDER", "IDX files: MNIST, Fashion-MNIST, KMNIST", "idx"),
    SourceKind("FOLDER", "class folders of images, with or without train, val and test above them", "folders"),
)
"""In the order in which they are asked; class folders, which any folder may be, are last."""


def table() -> list[tuple[str, str]]:
    """How each kind is written, and what it is."""
    return [(kind.written, kind.about) for kind in KINDS]


def names() -> list[str]:
    """The data sets that have a name of their own."""
    return [kind.written for kind in KINDS if kind.written == kind.written.lower()]


def written() -> str:
    """Every kind as it is written, for messages."""
    return ", ".join(dict.fromkeys(kind.written for kind in KINDS))
