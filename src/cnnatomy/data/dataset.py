"""`load`: from the name of a data set to `Data`, three splits ready for training."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cnnatomy.data.dividing import Divided, divide, grouping_of, looks_for_near, near_pairs
from cnnatomy.data.duplicates import equal_groups
from cnnatomy.data.frames import Frame, ImageShape
from cnnatomy.data.image_set import LEFT_OUT, SPLITS, TEST, TRAIN, ImageSet
from cnnatomy.data.loading import Loading
from cnnatomy.data.parts import Data, Normalisation, Report, Split, splits_of
from cnnatomy.data.sources import own
from cnnatomy.data.sources.drawn import DrawnScenes
from cnnatomy.data.sources.table import KINDS, names, written
from cnnatomy.data.splits import NearPairs
from cnnatomy.data.stores import processors
from cnnatomy.data.survey import Progress, Survey, survey
from cnnatomy.data.truth import Classes
from cnnatomy.errors import UserError, counted, nearest, printable, quoted
from cnnatomy.limits import MAX_NAME_LENGTH
from cnnatomy.tasks.task import Target

MEMORY = 2 * 2**30
"""Bytes of decoded images that may be held at once; a larger data set is decoded again in every epoch."""

Source = ImageSet | DrawnScenes
"""What `open_source` gives: the images of a data set, of which none is decoded yet."""


def load(
    source: str | Path | Source,
    shape: ImageShape,
    loading: Loading = Loading(),
    *,
    memory: int = MEMORY,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Data:
    """The data set `source` as images of `shape` (channels, rows, columns).

    `source` is what `open_source` takes, or what it gave. Splits that it does not bring along are cut off its training
    images: 20 % of each class for test, 10 % for validation, drawn by the seed of `loading`. The normalisation is
    computed on the training split alone.

    Args:
        memory: bytes of decoded images that may be held; a larger data set is decoded again in every epoch.
        workers: processes that decode it then, by default one for each processor.

    Raises:
        UserError: where that cannot be done.
    """
    image_set = open_source(source) if isinstance(source, (str, Path)) else source
    if isinstance(image_set, DrawnScenes):
        return image_set.load(shape, loading)
    image_set, frame = image_set.grouped_by(loading.group), Frame(shape, loading.fit)
    check_classes(image_set)
    workers = processors() if workers is None else workers
    seen = survey(image_set, frame, memory, workers, progress, thumbnails=looks_for_near(image_set, loading))
    try:
        grouping = grouping_of(image_set, loading.group)
        divided = divide(image_set, seen, loading, grouping, near_pairs(seen, loading))
    except UserError as error:
        broken = [f"{image_set.names[index]}: {reason}" for index, reason in list(seen.broken.items())[:5]]
        raise UserError("\n  ".join([f"{image_set.source}: {error}", *broken])) from None
    splits = divided.splits
    targets = image_set.truth.targets(frame, seen.stored, seen.classes)
    return Data(
        source=image_set.source,
        task=image_set.task(shape),
        shape=shape,
        loading=loading,
        **splits_of(seen.store, splits, targets),
        normalisation=normalisation(seen, splits == TRAIN, shape),
        report=_report(image_set, seen, divided, targets),
        originals=seen.originals,
        fingerprint=hashlib.blake2b(
            b"".join(seen.digests + seen.digests_of_maps) + splits.tobytes() + targets.numpy().tobytes(), digest_size=16
        ).hexdigest(),
    )


def check_classes(image_set: ImageSet) -> None:
    """Raises `UserError` where there is one class only, or nothing that a class can be learned of: labels that are
    numbers may leave some out, and a class folder may be empty."""
    truth = image_set.truth
    if not isinstance(truth, Classes):
        return
    if len(truth.names) < 2:
        raise UserError(f"{image_set.source}: there is only one class, {truth.names[0]}: expected two at least")
    counts = np.bincount(truth.labels[image_set.splits == TRAIN], minlength=len(truth.names))
    empty = [name for name, count in zip(truth.names, counts.tolist(), strict=True) if not count]
    if empty:
        more = f" and {len(empty) - 5:,} more" if len(empty) > 5 else ""
        raise UserError(
            f"{image_set.source}: there are {len(truth.names)} classes, but no training image is of"
            f" {', '.join(empty[:5])}{more}: add images of every class, or remove those that have none (labels that are"
            " numbers count the classes from 0 without a gap)"
        )


def load_labelled(source: str | Path | Source, frame: Frame, classes: Sequence[str]) -> tuple[Split, str]:
    """Images to evaluate a network on that knows `classes`, and in words what they are.

    The test split where the data set brings one along, else all of it; broken images are skipped.
    Raises `UserError` where it has a class that is not among `classes`, or no usable image.
    """
    found = open_source(source) if isinstance(source, (str, Path)) else source
    if isinstance(found, DrawnScenes):
        raise UserError(f"{found.source} is drawn, with splits of its own: expected files of images with classes")
    image_set = found.among(classes)
    seen = survey(image_set, frame, MEMORY, processors(), thumbnails=False)
    usable = seen.usable
    if TEST in image_set.has:
        usable &= image_set.splits == TEST
    if not usable.any():
        raise UserError(f"{image_set.source} has no usable image")
    what = f"{'test split' if TEST in image_set.has else 'all'} of {image_set.source}"
    what += f" without {counted(len(seen.broken), 'broken image')}" if seen.broken else ""
    skipped = len(image_set.skipped_annotations)
    what += f", {counted(skipped, 'annotation')} skipped" if skipped else ""
    targets = image_set.truth.targets(frame, seen.stored, seen.classes)
    return Split(seen.store, torch.from_numpy(np.flatnonzero(usable)), targets), what


def open_source(source: str | Path) -> Source:
    """Finds the images of a data set without decoding any; raises `UserError` where there is none.

    `source` is any that `sources.table.KINDS` tells of.
    """
    name = str(source)
    if not name:
        raise UserError(f"the name of the data is empty: expected {', '.join(names())}, a folder or a file")
    for kind in KINDS:
        file = kind.load()
        if file.recognises(name):
            found = file.read(name)
            if isinstance(found, ImageSet):
                _check_names(found)
            return found
    path = Path(name)
    if path.exists():
        raise UserError(f"{path} is none of the data that can be read: {written()}")
    beside = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    hint = nearest(path.name, [*names(), *beside])
    raise UserError(f"no data set {name}: expected one of {written()}.{hint}")


def _check_names(image_set: ImageSet) -> None:
    """Names of what is told apart are printed, and heads of columns: each is text on one line."""
    for name in image_set.truth.names:
        if printable(name) != name or not 0 < len(name) <= MAX_NAME_LENGTH:
            raise UserError(
                f"{image_set.source}: a class is called {quoted(name)}: expected a name on one line, of"
                f" {MAX_NAME_LENGTH} characters at most"
            )


def recorded(source: str) -> str:
    """The name of data that a file holds; raises `UserError` for a class of one's own, which no file can have run."""
    if own.recognises(source):
        raise UserError(f"the data are {source}, and nothing that a file names is run: give --data {source}")
    return source


@dataclass(frozen=True)
class Moments:
    """Per channel, of pixels scaled to 0 .. 1: their mean and standard deviation, 0 where the channel is constant."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def moments(seen: Survey, chosen: NDArray[np.bool_], shape: ImageShape) -> Moments:
    """Of some of the images, from integer sums; below a thousandth of a grey level a channel counts as constant."""
    pixels = int(chosen.sum()) * shape[1] * shape[2]
    mean = seen.sums[chosen].sum(0) / pixels
    variance = seen.squares[chosen].sum(0) / pixels - mean**2
    std = np.sqrt(np.maximum(variance, 0))
    std[std < 1e-3] = 0
    return Moments(tuple((mean / 255).tolist()), tuple((std / 255).tolist()))


def normalisation(seen: Survey, chosen: NDArray[np.bool_], shape: ImageShape) -> Normalisation:
    """By mean and standard deviation of some of the images; a constant channel is divided by 1."""
    found = moments(seen, chosen, shape)
    return Normalisation(found.mean, tuple(std or 1.0 for std in found.std))


def _report(image_set: ImageSet, seen: Survey, divided: Divided, targets: Tensor) -> Report:
    splits, truth = divided.splits, image_set.truth
    counts = {
        name: dict(zip(truth.names, truth.counts(targets[torch.from_numpy(splits == split)]).tolist(), strict=True))
        for split, name in enumerate(SPLITS)
    }
    equal = equal_groups(seen.digests)
    return Report(
        counts=counts,
        skipped=tuple((image_set.names[index], reason) for index, reason in sorted(seen.broken.items())),
        ignored=image_set.ignored,
        duplicates=sum(max(int((splits[group] != LEFT_OUT).sum()) - 1, 0) for group in equal),
        left_out=int((splits == LEFT_OUT).sum()) - len(seen.broken) - divided.unused,
        conflicts=sum(differ(seen, targets, first, other) for first, *others in equal for other in others),
        skipped_annotations=image_set.skipped_annotations,
        near_duplicates=divided.near_duplicates,
        near_conflicts=_differing(targets, divided.near) if truth.outputs is not None else 0,
        ungrouped=divided.grouping.alone if divided.grouping is not None else 0,
        unused=divided.unused,
        overlaps=divided.overlaps,
        notes=image_set.notes,
    )


def differ(seen: Survey, targets: Target, one: int, other: int) -> bool:
    """Whether there is something else to learn of one image than of another."""
    each = targets.values() if isinstance(targets, dict) else [targets]
    return seen.digests_of_maps[one] != seen.digests_of_maps[other] or not all(
        np.array_equal(values[one], values[other], equal_nan=True) for values in each
    )


def _differing(targets: Tensor, pairs: NearPairs) -> int:
    """How many pairs of images have different targets."""
    known = targets.nan_to_num(nan=-1.0) if targets.is_floating_point() else targets
    one, other = torch.from_numpy(pairs).unbind(1)
    return int((known[one] != known[other]).view(len(pairs), -1).any(1).sum()) if len(pairs) else 0
