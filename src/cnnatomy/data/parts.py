"""A data set that is ready for training: three splits that share no image, and what became of the files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnatomy.data.batches import Batches, Order
from cnnatomy.data.frames import ImageShape
from cnnatomy.data.image_set import SPLITS
from cnnatomy.data.leaks import Overlap
from cnnatomy.data.loading import Loading
from cnnatomy.data.stores import Store
from cnnatomy.errors import counted, some_of
from cnnatomy.tasks.task import Target, Task


@dataclass(frozen=True)
class Normalisation:
    """Per channel, of pixels scaled to 0 .. 1: what is subtracted and what is divided by."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Split:
    """One split: where its images are, and which (`indices` into the store; `targets` of the whole store)."""

    store: Store
    indices: Tensor
    targets: Target

    def __len__(self) -> int:
        return len(self.indices)

    def batches(
        self, batch_size: int, seed: int | None = None, weights: Tensor | None = None, cut: float = 0.0
    ) -> Batches:
        """(images uint8, target) batch by batch, shuffled again in each epoch where there is a seed; see `Order`."""
        order = Order(self.indices, batch_size, seed, weights, cut, self.store.window)
        return Batches(self.store, self.targets, order)


def splits_of(store: Store, splits: NDArray[np.int8], targets: Target) -> dict[str, Split]:
    """Training, validation and test split by name, of images that are each in one of `splits`, or LEFT_OUT."""
    return {
        name: Split(store, torch.from_numpy(np.flatnonzero(splits == split)), targets)
        for split, name in enumerate(SPLITS)
    }


@dataclass(frozen=True)
class Report:
    """What became of the files: counts per split and class, and everything that was not used.

    `counts` are images, of data with boxes objects. `skipped` and `skipped_annotations` each have the reason;
    `drawn_from` is what the project drew the images out of, where it did; `notes` are what a source says of itself.
    `near_duplicates` are pairs within one split, `near_conflicts` those of different targets,
    `ungrouped` images whose name shows no group, and `unused` those of a test split that no fold uses. `overlaps` are
    what lies in different splits of the data set's own.
    """

    counts: dict[str, dict[str, int]]
    skipped: tuple[tuple[str, str], ...] = ()
    ignored: int = 0
    duplicates: int = 0
    left_out: int = 0
    conflicts: int = 0
    skipped_annotations: tuple[tuple[str, str], ...] = ()
    drawn_from: str = ""
    near_duplicates: int = 0
    near_conflicts: int = 0
    ungrouped: int = 0
    unused: int = 0
    overlaps: tuple[Overlap, ...] = ()
    notes: tuple[str, ...] = ()

    def lines(self, most: int = 5) -> list[str]:
        """What a user should know, a line each; nothing where all is well. Of what was skipped `most` are named."""
        lines = [f"drawn by cnnatomy out of {self.drawn_from}"] if self.drawn_from else []
        lines += self.notes
        for what, skipped in (("broken image", self.skipped), ("annotation", self.skipped_annotations)):
            if skipped:
                lines.append(f"{counted(len(skipped), what)} skipped:")
                lines += [f"  {name}: {reason}" for name, reason in skipped[:most]]
                lines += [f"  and {len(skipped) - most:,} more"] if len(skipped) > most else []
        empty = [name for name, count in self.counts.get("train", {}).items() if not count]
        if empty:
            lines.append(f"no training image has anything of {some_of(empty)}")
        if self.ignored:
            lines.append(f"{counted(self.ignored, 'file')} ignored, without an image's suffix")
        if self.duplicates:
            lines.append(f"equal to another image, and kept in the same split: {counted(self.duplicates, 'image')}")
        if self.near_duplicates:
            pairs = counted(self.near_duplicates, "pair")
            lines.append(f"{pairs} of near duplicates, each kept in one split")
        if self.near_conflicts:
            lines.append(f"near duplicates that have different targets: {counted(self.near_conflicts, 'pair')}")
        if self.ungrouped:
            lines.append(f"without a group, so that each is one of its own: {counted(self.ungrouped, 'image')}")
        if self.unused:
            lines.append(f"of its own test split, in no fold, to be used at the end: {counted(self.unused, 'image')}")
        lines += [overlap.line() for overlap in self.overlaps]
        if self.left_out:
            lines.append(f"left out, as a later split has the same: {counted(self.left_out, 'image')}")
        if self.conflicts:
            lines.append(f"equal to another image that has another target: {counted(self.conflicts, 'image')}")
        return lines


@dataclass(frozen=True, eq=False)
class Data:
    """A data set in the network's input shape: three splits that share no image."""

    source: str
    task: Task
    shape: ImageShape
    loading: Loading
    train: Split
    val: Split
    test: Split
    normalisation: Normalisation
    report: Report
    fingerprint: str
    originals: Store | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of what there is to learn, in the order of the outputs."""
        return self.task.names

    def joined(self) -> Data:
        """Training and validation together as the training split, and no validation; the normalisation stays."""
        indices = torch.cat([self.train.indices, self.val.indices])
        return replace(self, train=replace(self.train, indices=indices), val=replace(self.val, indices=indices[:0]))

    def on(self, device: torch.device, room: int) -> Self:
        """The same for a training on this device, in so many bytes of its memory; see `stores.Store.on`."""
        store = self.train.store.on(device, room)
        originals = self.originals.on(device, room) if self.originals is not None else None
        parts = {name: replace(getattr(self, name), store=store) for name in SPLITS}
        return replace(self, originals=originals, **parts)

    def close(self) -> None:
        """Ends the processes that decode its images; they begin again where they are needed."""
        self.train.store.close()
        if self.originals is not None:
            self.originals.close()

    def describe(self) -> dict[str, Any]:
        """What a run folder keeps of the data set."""
        return {
            "source": self.source,
            "classes": list(self.classes),
            **self.loading.as_dict(),
            "splits": {name: len(getattr(self, name)) for name in SPLITS},
            "normalisation": {"mean": list(self.normalisation.mean), "std": list(self.normalisation.std)},
            "fingerprint": self.fingerprint,
        }
