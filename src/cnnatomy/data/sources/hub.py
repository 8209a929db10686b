"""Data sets of the Hugging Face Hub, parquet files and image folders, as the library `datasets` opens them.

`hf:NAME`, `hf:NAME:CONFIG`, `hf:FOLDER`, `hf:FILE.parquet`, each with `?column=...` where it has to be said which is
what. `hf-stream:` does the same with what does not fit on the disk: its images come one after another.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from itertools import accumulate, chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl

import numpy as np

from cnnatomy.data.frames import Frame
from cnnatomy.data.image_set import SPLITS, TRAIN, Decode, Fetched, ImageSet
from cnnatomy.data.images import ImageError, highest_class, map_in, quiet_decoders, read_bytes, read_content
from cnnatomy.data.sources.folders import SPLIT_NAMES
from cnnatomy.data.sources.hub_columns import CHOICES, Chosen, choose, text_columns, truth
from cnnatomy.data.streaming import FromStream
from cnnatomy.data.truth import Masks, Truth
from cnnatomy.errors import UserError, nearest, printable, quoted

if TYPE_CHECKING:
    from datasets import Dataset, Features, IterableDataset

PREFIX, STREAM = "hf:", "hf-stream:"
MODULES = ("parquet", "imagefolder", "arrow", "cache")
"""Of `datasets`, those that open what is read here; others unpickle, or run SQL."""
AT_ONCE = 512
"""Masks that threads look at together."""
HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?(?<!\.parquet)")
MAX_REASON = 300
"""Characters of what the library says that are repeated."""
PROBE_SECONDS = 3.0
"""How long the Hub has to answer, before its cache alone is asked."""


class HubName(NamedTuple):
    """What was typed: a name of the Hub or a path, perhaps a configuration, what each column is."""

    prefix: str
    name: str
    config: str
    choices: Mapping[str, str]

    @property
    def path(self) -> Path | None:
        """The folder or file, where it is one."""
        path = Path(self.name)
        return path.resolve() if path.exists() else None

    @property
    def source(self) -> str:
        """As a run folder keeps it."""
        chosen = "&".join(f"{key}={value}" for key, value in self.choices.items())
        config = f":{self.config}" if self.config else ""
        return f"{self.prefix}{self.path or self.name}{config}{'?' if chosen else ''}{chosen}"


def recognises(name: str) -> bool:
    """By how it begins."""
    return name.startswith((PREFIX, STREAM))


def read(name: str) -> ImageSet:
    """Finds the images and what the columns say of them, without decoding any.

    Raises:
        UserError: if `datasets` is not installed, the data set is neither here nor to be had, or it is not clear what
            its columns are.
    """
    wanted = parsed(name)
    splits, ignored = _by_split(_opened(wanted), wanted.source)
    features = _features(next(iter(splits.values())), wanted.source)
    chosen = choose(features, wanted.choices, wanted.source)
    with _described(wanted):
        if wanted.prefix == STREAM:
            bare = _opened(wanted, chosen.scalars)
            rows = [_rows_of_stream(bare[split], chosen) for split in splits]
        else:
            rows = [_rows(part, chosen) for part in splits.values()]
    columns = {column: [value for part in rows for value in part.columns[column]] for column in chosen.scalars}
    counts = [part.rows for part in rows]
    if not sum(counts):
        raise UserError(f"{wanted.source} has no row")
    numbers, has = _splits(splits, counts, columns.get(chosen.split), chosen.split, wanted.source)
    cells = tuple(_bare(part, chosen) for part in splits.values())
    ends = tuple(accumulate(counts))
    stream = HubStream(cells, ends, chosen.image, chosen.mask) if wanted.prefix == STREAM else None
    fetch = FromStream(stream) if stream else FromRows(cells, ends, chosen.image, chosen.mask)
    learned: Truth
    if chosen.mask is None:
        learned = truth(chosen, features, columns, wanted.source)
    else:
        learned = Masks(_mask_names(cells, chosen.mask, wanted), sum(counts))
    return ImageSet(
        source=wanted.source,
        truth=learned,
        splits=numbers,
        has=has,
        fetch=fetch,
        names=tuple(
            _name(split, number, path, wanted)
            for split, part in zip(splits, rows, strict=True)
            for number, path in enumerate(part.paths)
        ),
        files=True,
        skipped_annotations=ignored,
        columns=text_columns(chosen, features, columns),
        stream=stream,
    )


def parsed(name: str) -> HubName:
    """What was typed, in its parts; raises `UserError` for a choice that there is not."""
    prefix = STREAM if name.startswith(STREAM) else PREFIX
    rest = name.removeprefix(prefix)
    what, _, query = rest.partition("?") if not Path(rest).exists() else (rest, "", "")
    choices = dict(parse_qsl(query, keep_blank_values=True))
    for key, value in choices.items():
        if key not in CHOICES:
            known = "; ".join(f"{key}: {about}" for key, about in CHOICES.items())
            raise UserError(
                f"{name}: after the question mark there is no {quoted(key)}.{nearest(key, CHOICES)} Known: {known}"
            )
        if not value:
            raise UserError(f"{name}: {key}= names no column")
    if query and not choices:
        raise UserError(f"{name}: after the question mark expected such as label=COLUMN, got {quoted(query)}")
    config = ""
    if not Path(what).exists():
        what, _, config = what.partition(":")
    if not what:
        raise UserError(f"{name}: expected the name of a data set, a folder or a parquet file after {prefix}")
    return HubName(prefix, what, config, choices)


@dataclass(frozen=True, eq=False)
class FromRows:
    """Fetches from the rows of several tables, one after another; `ends` are where each ends."""

    tables: tuple[Dataset, ...]
    ends: tuple[int, ...]
    image: str
    mask: str | None

    def __call__(self, index: int, frame: Frame) -> Fetched:
        table = int(np.searchsorted(self.ends, index, side="right"))
        row = self.tables[table][index - (self.ends[table - 1] if table else 0)]
        return _decoded_row(row, self.image, self.mask, frame)


@dataclass(frozen=True, eq=False)
class HubStream:
    """All images in the order in which they come, table after table; `ends` are where each ends."""

    tables: tuple[IterableDataset, ...]
    ends: tuple[int, ...]
    image: str
    mask: str | None

    def __call__(self, first: int = 0) -> Iterator[Decode]:
        for table, start, end in zip(self.tables, (0, *self.ends), self.ends, strict=False):
            if first < end:
                for row in table.skip(first - start) if first > start else table:
                    yield partial(_decoded_row, row, self.image, self.mask)


def _decoded_row(row: Mapping[str, Any], image: str, mask: str | None, frame: Frame) -> Fetched:
    """The image of a row, and its map, if any; raises `ImageError` with the reason."""
    pixels, stored = read_bytes(_content(row[image]), frame)
    return Fetched(pixels, stored, map_in(_content(row[mask]), stored, frame) if mask else None)


def _content(cell: Any) -> bytes:
    """The bytes of an image's file, of which a row has these or the path."""
    if isinstance(cell, Mapping):
        cell = cell["bytes"] if cell["bytes"] is not None else cell["path"]
    if cell is None:
        raise ImageError("there is no image in this row")
    return cell if isinstance(cell, bytes) else read_content(Path(cell))


class Rows(NamedTuple):
    """How many rows a table has, what its scalar columns say, and where the images lay, as far as it is told."""

    rows: int
    columns: dict[str, list[Any]]
    paths: list[Any]


def _rows(table: Dataset, chosen: Chosen) -> Rows:
    from pyarrow import compute, types

    images = table.data.column(chosen.image)
    has_paths = types.is_struct(images.type)
    paths = compute.struct_field(images, "path").to_pylist() if has_paths else [None] * len(table)
    return Rows(len(table), {name: table.data.column(name).to_pylist() for name in chosen.scalars}, paths)


def _rows_of_stream(table: IterableDataset, chosen: Chosen) -> Rows:
    columns: dict[str, list[Any]] = {name: [] for name in chosen.scalars}
    count = 0
    for row in table.select_columns(chosen.scalars) if columns else table:
        count += 1
        for name, values in columns.items():
            values.append(row[name])
    return Rows(count, columns, [None] * count)


def _bare(table: Any, chosen: Chosen) -> Any:
    """The table with its images alone, which are not decoded by it."""
    from datasets import Image

    names = [chosen.image, *([chosen.mask] if chosen.mask else [])]
    table = table.select_columns(names)
    for name in names:
        if isinstance(table.features[name], Image):
            table = table.cast_column(name, Image(decode=False))
    return table


def _features(table: Any, source: str) -> Features:
    features = table.features
    if features is None:  # of a stream that does not say them: its first rows do
        features = table._resolve_features().features
    if not features:
        raise UserError(f"{source} has no columns")
    return features


def _by_split(tables: Mapping[str, Any], source: str) -> tuple[dict[str, Any], tuple[tuple[str, str], ...]]:
    """The tables that are train, val and test, by their names; a single one is what is then divided."""
    if len(tables) == 1:
        return dict(tables), ()
    found = {name: table for name, table in tables.items() if name.lower() in SPLIT_NAMES}
    numbers = [SPLIT_NAMES[name.lower()] for name in found]
    if TRAIN not in numbers:
        raise UserError(f"{source} has the splits {', '.join(tables)}, but no train")
    if len(set(numbers)) < len(numbers):
        raise UserError(f"{source} has the splits {', '.join(found)}, of which two are the same")
    features = {name: table.features for name, table in found.items()}
    if len({str(each) for each in features.values()}) > 1:
        raise UserError(f"{source}: the splits {', '.join(found)} have different columns")
    ignored = tuple((f"split {name}", "none of train, val and test") for name in tables if name not in found)
    return found, ignored


def _splits(
    tables: Mapping[str, Any], counts: Sequence[int], said: list[Any] | None, column: str, source: str
) -> tuple[Any, frozenset[int]]:
    """TRAIN, VAL or TEST of each row, by its table, or by a column."""
    if said is None:
        of_table = [SPLIT_NAMES[name.lower()] if len(tables) > 1 else TRAIN for name in tables]
        return np.repeat(np.array(of_table, np.int8), counts), frozenset(of_table)
    unknown = sorted({str(value) for value in said if str(value).lower() not in SPLIT_NAMES})
    if unknown:
        raise UserError(
            f"{source}: column {column} says {', '.join(map(quoted, unknown[:3]))}; expected {', '.join(SPLITS)}"
        )
    numbers = np.array([SPLIT_NAMES[str(value).lower()] for value in said], np.int8)
    return numbers, frozenset(numbers.tolist())


def _name(split: str, number: int, path: str | None, wanted: HubName) -> str:
    """Of an image, by which groups can be told: its path where that is known, below the folder that was named."""
    if not path:
        return f"{split} {number}"
    known = Path(path)
    is_below = wanted.path is not None and known.is_relative_to(wanted.path)
    return printable(known.relative_to(wanted.path) if is_below and wanted.path else known)


def _mask_names(tables: Sequence[Any], mask: str, wanted: HubName) -> tuple[str, ...]:
    """The classes of masks: as they were named, else as many as a look at every mask finds."""
    if "names" in wanted.choices:
        return tuple(wanted.choices["names"].split(","))

    def highest(row: Mapping[str, Any]) -> int:
        try:
            return highest_class(_content(row[mask]))
        except ImageError:  # which is told when the images are read
            return 0

    rows = chain.from_iterable(table.select_columns([mask]) for table in tables)
    count = 1
    with quiet_decoders(), ThreadPoolExecutor() as threads:
        while part := list(islice(rows, AT_ONCE)):
            count = max(count, *(number + 1 for number in threads.map(highest, part)))
    if count < 2:
        raise UserError(f"{wanted.source}: its masks have one class alone")
    return tuple(map(str, range(count)))


def _opened(wanted: HubName, columns: Sequence[str] = ()) -> dict[str, Any]:
    """Its tables by the names of their splits; those of a stream are read only as they are gone through.

    With `columns`, of parquet files no others are read.
    """
    if find_spec("datasets") is None:
        raise UserError(f"{wanted.source}: data sets of the Hub need the library datasets: pip install 'cnnatomy[hub]'")
    path, streaming = wanted.path, wanted.prefix == STREAM
    with _described(wanted), _reachable(wanted):
        from datasets import load_dataset, load_dataset_builder

        options: dict[str, Any] = {"streaming": streaming}
        if path is not None and path.is_file():
            if path.suffix.lower() != ".parquet":
                raise UserError(f"{wanted.source}: expected a folder, or a file that ends in .parquet")
            module, place, options["data_files"] = "parquet", "parquet", {"train": str(path)}
        else:
            if path is None and not HUB_NAME.fullmatch(wanted.name):
                raise UserError(
                    f"{wanted.source}: there is no folder or file {wanted.name}; data sets of the Hub are called"
                    " OWNER/NAME"
                )
            place = str(path or wanted.name)
            module = type(load_dataset_builder(place, wanted.config or None)).__module__.split(".")[-1]
        if module not in MODULES:
            raise UserError(f"{wanted.source} is a data set of {module}; expected parquet files or folders of images")
        if columns and module == "parquet":
            options["columns"] = list(columns)
        return dict(load_dataset(place, wanted.config or None, **options))


@contextmanager
def _reachable(wanted: HubName) -> Iterator[None]:
    """Asks the Hub once whether it answers; where it does not, only what is in its cache is looked for."""
    import datasets
    from huggingface_hub import constants

    before = datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    offline = any(before) or wanted.path is not None or not _answers(constants.ENDPOINT)
    datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = offline
    try:
        yield
    except (ConnectionError, FileNotFoundError) as error:
        if not offline or wanted.path is not None:
            raise
        cache = datasets.config.HF_DATASETS_CACHE
        raise UserError(
            f"{wanted.source} is not in the cache ({cache}; HF_HOME says where else), and the Hub cannot be reached."
            " Load it once where it can, or name a folder or a parquet file"
        ) from error
    finally:
        datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before


def _answers(endpoint: str) -> bool:
    from huggingface_hub import get_session

    try:
        get_session().head(endpoint, timeout=PROBE_SECONDS)
    except Exception:  # of whichever library it asks with
        return False
    return True


@contextmanager
def _described(wanted: HubName) -> Iterator[None]:
    """Keeps the library quiet, and makes one message of whatever it raises."""
    import datasets
    from datasets.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    were_off = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:  # of pyarrow, fsspec, huggingface_hub, ...
        cause: BaseException = error
        while (below := cause.__cause__) is not None:
            cause = below
        reason = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
        if "corresponds to no data" in reason:
            raise UserError(f"{wanted.source} has no row") from None
        if "config" in reason.lower():
            reason += f"; one is named after a colon, {wanted.prefix}{wanted.name}:CONFIGURATION"
        raise UserError(f"{wanted.source} cannot be read: {printable(reason[:MAX_REASON])}") from None
    finally:
        logging.set_verbosity(level)
        if not were_off:
            datasets.enable_progress_bars()
