"""WebDataset's shards: tar files in which an image and what is to be learned of it lie side by side.

Of each sample the image is known by its suffix, and what there is to learn is in `.cls` (a number), `.json` (a mapping
with `label` or `labels`), `.mask.png` or `.seg.png` (a class for each pixel), or `.txt` (the name of a class).
`classes.txt` beside the shards names the classes of numbers. Nothing is unpickled.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cnnatomy.data.class_list import ClassList, class_list
from cnnatomy.data.frames import Frame
from cnnatomy.data.image_set import TRAIN, Fetched, ImageSet, read_fetched
from cnnatomy.data.images import SUFFIXES, Coding, ImageError, class_numbers
from cnnatomy.data.labelling import one_class_each, several_each, word_of
from cnnatomy.data.maps import meaning
from cnnatomy.data.sources.shards import Member, ShardSample, is_shard, read_member, samples_in, shards_of, split_of
from cnnatomy.data.truth import Masks, Truth
from cnnatomy.errors import UserError, literal, printable, quoted, shown, some_of
from cnnatomy.limits import MAX_IMAGE_BYTES, MAX_LABEL_BYTES

CLASS, RECORD, MASK, TEXT = "cls", "json", "mask", "txt"
"""Kinds of members that say what there is to learn."""
LABEL, LABELS = "label", "labels"
MASK_PREFIXES = ("mask", "seg")
"""What begins that which follows the key of a mask."""


@dataclass(frozen=True)
class FromShards:
    """Fetches images by their places in shards, and their masks, where there are some."""

    shards: tuple[Path, ...]
    images: tuple[Member, ...]
    masks: tuple[Member, ...] = ()
    coding: Coding = class_numbers

    def __call__(self, index: int, frame: Frame) -> Fetched:
        shard = self.shards[index]
        image = read_member(shard, self.images[index], MAX_IMAGE_BYTES)
        mask = read_member(shard, self.masks[index], MAX_IMAGE_BYTES) if self.masks else None
        return read_fetched(image, frame, mask, self.coding)


def recognises(name: str) -> bool:
    """Whether it names tar files, or is a folder of some."""
    path = Path(name)
    if path.is_dir():
        return any(is_shard(each.name) for each in (*path.iterdir(), *path.glob("*/*.tar")))
    return is_shard(path.name) and (path.exists() or "{" in name)


def read(name: str) -> ImageSet:
    """Reads the headers of all shards, and what there is to learn; no image is opened, and masks are where
    `classes.txt` does not say what is in them.

    Raises:
        UserError: naming the shard and the sample of what is not as it should be.
    """
    path, source = Path(name), printable(name)
    folder = path if path.is_dir() else path.parent
    shards = shards_of(name)
    splits = _splits(shards, folder, source)
    everything = [sample for shard in shards for sample in samples_in(shard)]
    kind = _kind(everything, source)
    images = [_image(sample) if _target(sample, kind) else "" for sample in everything]
    pairs = [(sample, image) for sample, image in zip(everything, images, strict=True) if image]
    samples = [sample for sample, _ in pairs]
    if not any(splits[sample.shard] == TRAIN for sample in samples):
        raise UserError(f"{source}: no sample of the split train has an image and a {kind}")
    learned = _LEARN[kind](samples, class_list(folder), source)
    given = np.array([splits[sample.shard] for sample in samples], np.int8)
    places = {shard: shard.resolve() for shard in shards}
    return ImageSet(
        source=str(path.resolve()) if path.exists() else os.path.abspath(name),
        truth=learned.truth,
        splits=given,
        has=frozenset(given.tolist()),
        fetch=FromShards(
            tuple(places[sample.shard] for sample in samples),
            tuple(sample.members[image] for sample, image in pairs),
            learned.masks,
            learned.coding,
        ),
        names=tuple(sample.name for sample in samples),
        files=True,
        notes=(*learned.notes, *_notes(everything, images, kind)),
    )


def _splits(shards: Sequence[Path], folder: Path, source: str) -> dict[Path, int]:
    """The split of each shard by its name; all are to train where no name tells of one."""
    found = {shard: split_of(shard, folder) for shard in shards}
    without = [shard.name for shard, split in found.items() if split is None]
    if without and len(without) < len(found):
        raise UserError(
            f"{source}: the names of some shards tell of a split, those of others do not ({some_of(without, 3)}): name"
            " all with train, val or test, or none"
        )
    return {shard: TRAIN if split is None else split for shard, split in found.items()}


def _image(sample: ShardSample) -> str:
    """Which member is the image; '' where there is none."""
    found = [what for what in sample.members if _has_suffix(what) and what.partition(".")[0] not in MASK_PREFIXES]
    plain = [what for what in found if "." not in what] or found
    if len(plain) > 1:
        raise UserError(f"{sample.name} has several images, {some_of(plain)}: expected one")
    return plain[0] if plain else ""


def _has_suffix(what: str) -> bool:
    """Whether what follows the key of a member ends as images do."""
    return "." + what.rpartition(".")[2] in SUFFIXES


def _target(sample: ShardSample, kind: str) -> str:
    """Which member says what there is to learn, of a kind; '' where there is none."""
    if kind != MASK:
        return kind if kind in sample.members else ""
    return next((what for what in sample.members if what.partition(".")[0] in MASK_PREFIXES and _has_suffix(what)), "")


def _kind(samples: Sequence[ShardSample], source: str) -> str:
    """Of which kind the members are that say what there is to learn; JSON may say other things."""
    for kind in (CLASS, RECORD, MASK, TEXT):
        first = next((sample for sample in samples if _target(sample, kind)), None)
        if first is not None and (kind != RECORD or {LABEL, LABELS} & _record(first).keys()):
            return kind
    there = Counter(what for sample in samples for what in sample.members)
    raise UserError(
        f"{source}: nothing to learn: expected members .{CLASS} with a number, .{RECORD} with {LABEL} or {LABELS},"
        f" .mask.png, or .{TEXT} with the name of a class; found {some_of([f'.{what}' for what in there]) or 'none'}"
    )


def _notes(samples: Sequence[ShardSample], images: Sequence[str], kind: str) -> list[str]:
    """What is left out; the image of a sample is '' where all of it is."""
    pairs = list(zip(samples, images, strict=True))
    used = {what for sample, image in pairs if image for what in (image, _target(sample, kind))}
    unused = sorted({what for sample in samples for what in sample.members} - used)
    alone = [sample.name for sample, image in pairs if not image]
    notes = [f"{len(alone):,} samples without an image or a {kind}, left out: {some_of(alone)}"] if alone else []
    return notes + ([f"not used of samples: {printable(some_of([f'.{what}' for what in unused]))}"] if unused else [])


class _Learned(NamedTuple):
    truth: Truth
    notes: Sequence[str] = ()
    masks: tuple[Member, ...] = ()
    coding: Coding = class_numbers


def _text(sample: ShardSample, what: str) -> str:
    try:
        return read_member(sample.shard, sample.members[what], MAX_LABEL_BYTES).decode().strip()
    except UnicodeDecodeError:
        raise UserError(f"{sample.name}.{what} is no text in UTF-8") from None
    except ImageError as error:
        raise UserError(f"{sample.name}.{what}: {error}") from None


def _record(sample: ShardSample) -> dict[str, Any]:
    try:
        record = json.loads(_text(sample, RECORD))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{sample.name}.{RECORD} is not JSON: {shown(error)}") from None
    if not isinstance(record, dict):
        raise UserError(f"{sample.name}.{RECORD}: expected a mapping, got {shown(record)}")
    return record


def _word(value: Any, listed: ClassList | None, where: str) -> str:
    """The class that is meant: its name, or its number, from 0 on in `classes.txt` where that is there."""
    word = word_of(value)
    if word is None:
        raise UserError(f"{where}: expected a class, got {literal(value)}")
    if listed is None or word in listed.names:
        return word
    if not word.isascii() or not word.isdigit() or len(word) > 9 or int(word) >= len(listed.names):
        raise UserError(f"{where}: {quoted(word)} is none of the {len(listed.names):,} classes of {listed.path}")
    return listed.names[int(word)]


def _classes(samples: Sequence[ShardSample], listed: ClassList | None, source: str) -> _Learned:
    words = []
    for sample in samples:
        text = _text(sample, CLASS)
        if not text.isascii() or not text.isdigit():
            raise UserError(f"{sample.name}.{CLASS}: expected a number, got {quoted(text)}")
        words.append(_word(str(int(text)) if len(text) < 10 else text, listed, f"{sample.name}.{CLASS}"))
    return _Learned(one_class_each(words, source, () if listed is None else listed.names))


def _texts(samples: Sequence[ShardSample], listed: ClassList | None, source: str) -> _Learned:
    words = [_word(_text(sample, TEXT), listed, f"{sample.name}.{TEXT}") for sample in samples]
    return _Learned(one_class_each(words, source, () if listed is None else listed.names))


def _records(samples: Sequence[ShardSample], listed: ClassList | None, source: str) -> _Learned:
    key = LABEL if LABEL in _record(samples[0]) else LABELS
    rows = []
    for sample in samples:
        where, value = f"{sample.name}.{RECORD}: {key}", _record(sample).get(key)
        if (key == LABELS) != isinstance(value, list):
            raise UserError(
                f"{where}: expected {'a list of classes' if key == LABELS else 'a class'}, got {shown(value)}"
            )
        rows.append([_word(each, listed, where) for each in (value if isinstance(value, list) else [value])])
    names = () if listed is None else listed.names
    if key == LABELS:
        return _Learned(several_each(rows, source, names))
    return _Learned(one_class_each([word for row in rows for word in row], source, names))


def _masks(samples: Sequence[ShardSample], listed: ClassList | None, source: str) -> _Learned:
    members = tuple(sample.members[_target(sample, MASK)] for sample in samples)
    names = [f"{sample.name}.{_target(sample, MASK)}" for sample in samples]
    contents = (
        partial(read_member, sample.shard, member, MAX_IMAGE_BYTES)
        for sample, member in zip(samples, members, strict=True)
    )
    found = meaning(contents, names, listed, source)
    return _Learned(Masks(found.names, len(samples)), found.notes, members, found.coding)


_LEARN = {CLASS: _classes, RECORD: _records, MASK: _masks, TEXT: _texts}
