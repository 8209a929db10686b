"""Everything that one pass over a data set finds, also where it cannot be trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from cnnatomy.data.dataset import Source, check_classes
from cnnatomy.data.dividing import Divided, divide, grouping_of, near_pairs
from cnnatomy.data.frames import Frame, ImageShape
from cnnatomy.data.image_set import LEFT_OUT, TEST, TRAIN, VAL, ImageSet
from cnnatomy.data.images import Stored
from cnnatomy.data.inspection.size import LookedAt
from cnnatomy.data.leaks import near_across
from cnnatomy.data.loading import Loading
from cnnatomy.data.sources.drawn import DrawnScenes
from cnnatomy.data.stores import Decoded, Draw, InMemory
from cnnatomy.data.survey import Progress, Survey, measured, survey, thumbnails_of
from cnnatomy.errors import UserError
from cnnatomy.tasks.task import Target, Task


@dataclass(frozen=True, eq=False)
class Gathered:
    """A data set that has been read once.

    Attributes:
        sized: the shape in which it was read, and why.
        names: of its images.
        given: where the data set itself puts each image: TRAIN, VAL or TEST; `has`: which it brings along.
        divided: where training would put each, and what is near duplicate; where it is refused, as given.
        refusal: why nothing can be trained on it as it is; empty where something can.
        drawn: whether the project draws the images itself.
    """

    source: str
    task: Task
    sized: LookedAt
    loading: Loading
    names: Sequence[str]
    given: NDArray[np.int8]
    has: frozenset[int]
    divided: Divided
    refusal: str
    seen: Survey
    targets: Target
    ignored: int = 0
    notes: tuple[str, ...] = ()
    skipped_annotations: tuple[tuple[str, str], ...] = ()
    columns: Mapping[str, Sequence[str]] | None = None
    drawn: bool = False

    @property
    def shape(self) -> ImageShape:
        """(channels, rows, columns)"""
        return self.sized.shape

    @property
    def splits(self) -> NDArray[np.int8]:
        """TRAIN, VAL, TEST or LEFT_OUT for each image; broken ones are LEFT_OUT."""
        return self.divided.splits

    @property
    def labels(self) -> NDArray[np.int64] | None:
        """The class of each image, where that is all there is to learn."""
        return self.targets.numpy() if self.task.kind == "label" and isinstance(self.targets, Tensor) else None

    def decoded(self, indices: Tensor) -> Decoded:
        """These images again, as they are fitted."""
        return next(iter(self.seen.store.batches([Draw(indices)])))


def gather(source: Source, sized: LookedAt, loading: Loading, progress: Progress | None = None) -> Gathered:
    """Reads every image once and keeps none, so that memory does not grow with the number of their pixels."""
    if isinstance(source, DrawnScenes):
        return _drawn(source, sized, loading)
    frame = Frame(sized.shape, loading.fit)
    seen = survey(source, frame, memory=0, workers=0, progress=progress)
    divided, refusal = _divided(source, seen, loading)
    return Gathered(
        source=source.source,
        task=source.task(sized.shape),
        sized=sized,
        loading=loading,
        names=source.names,
        given=source.splits,
        has=source.has,
        divided=divided,
        refusal=refusal,
        seen=seen,
        targets=source.truth.targets(frame, seen.stored, seen.classes),
        ignored=source.ignored,
        notes=source.notes,
        skipped_annotations=source.skipped_annotations,
        columns=source.columns,
    )


def _divided(image_set: ImageSet, seen: Survey, loading: Loading) -> tuple[Divided, str]:
    """The splits of training; or those that are given, and why there can be no training."""
    grouping, near = None, near_pairs(seen, loading)
    try:
        grouping = grouping_of(image_set, loading.group)
        check_classes(image_set)
        return divide(image_set, seen, loading, grouping, near), ""
    except UserError as error:
        reason = str(error).splitlines()[0].removeprefix(image_set.source).removeprefix(":").strip()
    splits = np.where(seen.usable, image_set.splits, LEFT_OUT).astype(np.int8)
    across = near_across(near, image_set.names, splits)
    return Divided(splits, near, grouping, overlaps=(across,) if across is not None else ()), reason


def _drawn(source: DrawnScenes, sized: LookedAt, loading: Loading) -> Gathered:
    """Scenes are drawn in memory, each split by itself."""
    source.check(sized.shape)
    data = source.load(sized.shape, loading)
    store, count = data.train.store, len(source)
    assert isinstance(store, InMemory)
    splits = np.empty(count, np.int8)
    for split, part in ((TRAIN, data.train), (VAL, data.val), (TEST, data.test)):
        splits[part.indices.numpy()] = split
    found = measured(store.images.numpy())
    seen = Survey(
        store=store,
        originals=None,
        digests=found.digests,
        digests_of_maps=[b""] * count,
        sums=found.sums,
        squares=found.squares,
        thumbnails=thumbnails_of(store.images.numpy()),
        stored=dict.fromkeys(range(count), Stored(sized.shape[1:], colour=sized.shape[0] == 3)),
        broken={},
        areas=np.zeros((count, 0), np.int32),
    )
    return Gathered(
        source=source.source,
        task=data.task,
        sized=sized,
        loading=loading,
        names=[f"scene {index}" for index in range(count)],
        given=splits,
        has=frozenset((TRAIN, VAL, TEST)),
        divided=Divided(splits, np.zeros((0, 2), np.int64)),
        refusal="",
        seen=seen,
        targets=data.train.targets,
        drawn=True,
    )
