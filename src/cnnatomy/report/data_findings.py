"""What is wrong with a data set, or worth knowing of it, a sentence each."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from cnnatomy.critique import SEVERITIES
from cnnatomy.data.loading import SPLITS
from cnnatomy.errors import counted, printable, some_of

if TYPE_CHECKING:
    from cnnatomy.critique.rule import Severity
    from cnnatomy.data.inspection.equal import Equal
    from cnnatomy.data.inspection.inspection import Inspection
    from cnnatomy.data.inspection.near import Near


class Remark(NamedTuple):
    """A severity (error: nothing can be trained; warning: what is measured or learned is wrong; note), the name of what
    is told, a sentence, and examples."""

    severity: Severity
    name: str
    text: str
    examples: tuple[str, ...] = ()


def remarks(found: Inspection) -> list[Remark]:
    """Everything there is to say, the worst first."""
    every = [*_files(found), *_same(found), *_near(found), *_classes(found), *_pixels(found), *_groups(found)]
    return sorted(every, key=lambda remark: -SEVERITIES.index(remark.severity))


def _files(found: Inspection) -> Iterator[Remark]:
    data = found.gathered
    if data.refusal:
        yield Remark("error", "refused", f"it cannot be trained on as it is: {data.refusal}")
    if found.broken:
        text = f"{counted(len(found.broken), 'image')} cannot be read, and would be skipped"
        yield Remark("warning", "broken", text, tuple(f"{name}: {reason}" for name, reason in found.broken))
    if data.skipped_annotations:
        text = f"{counted(len(data.skipped_annotations), 'annotation')} cannot be used, and would be skipped"
        yield Remark("warning", "annotations", text, tuple(f"{what}: {why}" for what, why in data.skipped_annotations))
    for note in data.notes:
        yield Remark("note", "source", note)
    if data.ignored:
        yield Remark("note", "ignored", f"{counted(data.ignored, 'file')} ignored: no image by the name")


def _same(found: Inspection) -> Iterator[Remark]:
    groups = {
        "conflicts": [each for each in found.equal if each.conflict],
        "across": [each for each in found.equal if each.across],
        "duplicates": [each for each in found.equal if not each.across and not each.conflict],
    }
    examples = {name: tuple(_group(found, each) for each in these) for name, these in groups.items()}
    images = {name: sum(len(each.images) for each in these) for name, these in groups.items()}
    if groups["conflicts"]:
        text = f"{images['conflicts']:,} equal images have different targets: which is right?"
        yield Remark("warning", "conflicts", text, examples["conflicts"])
    if groups["across"]:
        text = (
            f"{counted(len(groups['across']), 'image')} in several splits at once: each is kept in test before val"
            " before train, and left out of the others"
        )
        yield Remark("warning", "across_splits", text, examples["across"])
    if groups["duplicates"]:
        spare = images["duplicates"] - len(groups["duplicates"])
        text = f"{counted(spare, 'image')} equal to another one of the same split; equal images stay in one split"
        yield Remark("note", "duplicates", text, examples["duplicates"])


def _near(found: Inspection) -> Iterator[Remark]:
    """Near duplicates, and groups, of which a part is in another split."""
    data = found.gathered
    for overlap in data.divided.overlaps:
        text = (
            f"{overlap.counted()} in different splits of the data set's own: what is measured looks better than it is"
        )
        yield Remark("warning", overlap.what[1].replace(" ", "_"), text, overlap.examples)
    differ = [each for each in found.near if each.targets is not None]
    if differ:
        verb = "has" if len(differ) == 1 else "have"
        text = f"{counted(len(differ), 'pair')} of near duplicates {verb} different targets: which is right?"
        yield Remark("warning", "near_conflicts", text, tuple(_pair(found, each) for each in differ))
    together = [
        each
        for each in found.near
        if each.targets is None and data.splits[each.images[0]] == data.splits[each.images[1]]
    ]
    if together:
        text = f"{counted(len(together), 'pair')} of near duplicates; each pair stays in one split"
        yield Remark("note", "near_duplicates", text, tuple(_pair(found, each) for each in together))


def _pair(found: Inspection, near: Near) -> str:
    """Their names, with their targets where these differ."""
    names = [printable(found.gathered.names[index]) for index in near.images]
    if near.targets is None:
        return " ~ ".join(names)
    return ", ".join(f"{name} ({printable(target)})" for name, target in zip(names, near.targets, strict=True))


def _group(found: Inspection, equal: Equal) -> str:
    """The names of equal images, with the splits that the data set has them in where it has several."""
    data = found.gathered
    named = [
        f"{printable(data.names[index])} ({SPLITS[data.given[index]]})"
        if equal.across
        else printable(data.names[index])
        for index in equal.images
    ]
    return " = ".join(named[:5]) + (f" = {len(named) - 5:,} more" if len(named) > 5 else "")


def _classes(found: Inspection) -> Iterator[Remark]:
    empty = [row for each in found.to_learn for row in each.rows if not row.total and each.counted != "known"]
    if empty and not found.gathered.refusal:
        yield Remark("warning", "empty", f"nothing at all is there of {some_of([row.name for row in empty])}")
    unseen = [row for each in found.to_learn for row in each.rows if row.total and not row.counts["train"]]
    if unseen and not found.gathered.refusal:
        names = [row.name for row in unseen]
        text = f"no training image has anything of {some_of(names)}, which cannot be learned"
        yield Remark("warning", "unseen", text, tuple(f"{row.name}: {row.total:,}" for row in unseen))
    if found.few:
        named = some_of([f"{row.name} has {row.total:,}" for row in found.few])
        text = (
            f"{named}: too few to tell how well they are recognised; one test image more or less changes"
            " what is measured by many percent"
        )
        yield Remark("warning", "few", text, tuple(f"{row.name}: {row.total:,}" for row in found.few))
    if found.rare:
        most = max(row.counts["train"] for each in found.to_learn for row in each.rows)
        named = some_of([f"{row.name} has {row.counts['train']:,}" for row in found.rare])
        text = f"{named} in training, and {most:,} of the most frequent"
        if found.gathered.task.kind == "label":
            text += ": `train` weights the classes by itself (--set class_weights=none does not)"
        yield Remark("warning", "rare", text, tuple(f"{row.name}: {row.counts['train']:,}" for row in found.rare))
    for each in found.to_learn:
        if each.missing:
            text = f"{counted(each.missing, 'number')} not known (nan) or without end"
            rows = tuple(f"{row.name}: {row.missing:,}" for row in each.rows if row.missing)
            yield Remark("warning", "missing", text, rows)
        if each.without and each.kind in ("labels", "objects", "keypoints"):
            whose = f" of {each.head}" if each.head else ""
            yield Remark("note", "without", f"{counted(each.without, 'image')} without any {each.kind}{whose}")


def _pixels(found: Inspection) -> Iterator[Remark]:
    if found.flat:
        names = tuple(printable(found.gathered.names[index]) for index in found.flat)
        yield Remark(
            "warning", "flat", f"{counted(len(found.flat), 'image')} without contrast: nothing is to be seen", names
        )
    grey = found.sizes.grey_in_colour if found.sizes else 0
    if grey:
        every = found.sizes is not None and grey == found.sizes.colour + found.sizes.grey
        rows, columns = found.gathered.shape[1:]
        hint = f": --input 1x{rows}x{columns} costs less" if every else ""
        yield Remark("note", "grey", f"{counted(grey, 'image')} stored in colour without any{hint}")


def _groups(found: Inspection) -> Iterator[Remark]:
    if found.groups is not None:
        groups, group = found.groups, printable(found.gathered.loading.group)
        text = f"--group {group} makes {counted(groups.groups, 'group')}"
        if groups.groups:
            text += f"; the largest, {printable(groups.largest)}, has {counted(groups.images, 'image')}"
        if groups.without:
            text += f"; {counted(groups.without, 'image')} without a group, each one of its own"
        yield Remark("note", "groups", text)
    for column in found.columns:
        text = (
            f"the column {column.name} has {column.values:,} values: --group {column.name} keeps images that share one"
        )
        yield Remark("note", "column", text + f" in one split (the largest group has {column.largest:,})")
    same = found.subjects
    if same is not None:
        text = (
            f"names look like several images of {same.groups:,} subjects, and images of one are alike (their thumbnails"
            f" correlate by {same.within:.2f}, others of the same folder by {same.between:.2f}): if so,"
            f" --group '{same.pattern}' keeps each in one split"
        )
        yield Remark("warning", "subjects", text, (same.example,))
