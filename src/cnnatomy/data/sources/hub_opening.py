"""Opens what is named `hf:` and `hf-stream:` by the library `datasets`: from its cache, from the Hub, from files.

Nothing is downloaded that is here already, the Hub is waited for once and for seconds, and only formats are opened
that run nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from cnnatomy.data.sources.hub_columns import CHOICES
from cnnatomy.errors import UserError, nearest, printable, quoted
from cnnatomy.files import regular_file
from cnnatomy.limits import MAX_DATA_IMAGES, MAX_PARQUET_RATIO, MAX_SMALL_PARQUET_BYTES

PREFIX, STREAM = "hf:", "hf-stream:"
MODULES = ("parquet", "imagefolder", "arrow", "cache")
"""Of `datasets`, those that open what is read here; others unpickle, or run SQL."""
HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?(?<!\.parquet)")
DIFFERENT_COLUMNS = ("Couldn't cast", "No match for FieldRef")
"""What datasets and pyarrow say of files of different columns."""
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
        return Path(self.name).resolve() if os.path.exists(self.name) else None

    @property
    def source(self) -> str:
        """As a run folder keeps it."""
        chosen = "&".join(f"{key}={value}" for key, value in self.choices.items())
        config = f":{self.config}" if self.config else ""
        return f"{self.prefix}{self.path or self.name}{config}{'?' if chosen else ''}{chosen}"


def parsed(name: str) -> HubName:
    """What was typed, in its parts; raises `UserError` for a choice that there is not."""
    prefix = STREAM if name.startswith(STREAM) else PREFIX
    rest = name.removeprefix(prefix)
    what, _, query = rest.partition("?") if not os.path.exists(rest) else (rest, "", "")
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
    if not os.path.exists(what):
        what, _, config = what.partition(":")
    if not what:
        raise UserError(f"{name}: expected the name of a data set, a folder or a parquet file after {prefix}")
    return HubName(prefix, what, config, choices)


def opened(wanted: HubName, columns: Sequence[str] = (), bare: bool = False) -> dict[str, Any]:
    """Its tables by the names of their splits; those of a stream are read only as they are gone through, and those
    that are to say no more than their columns, `bare`.

    With `columns`, of parquet files no others are read.
    """
    if find_spec("datasets") is None:
        raise UserError(f"{wanted.source}: data sets of the Hub need the library datasets: pip install 'cnnatomy[hub]'")
    path, streaming = wanted.path, wanted.prefix == STREAM or bare
    _check_sizes(wanted)
    with described(wanted), _reachable(wanted):
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


def _parquet_files(wanted: HubName) -> Iterator[Path]:
    """Those of a folder, or the one that is named; none of the Hub. Folders that cannot be read are passed over."""
    if wanted.path is None:
        return
    if not wanted.path.is_dir():
        yield wanted.path
    for place, folders, names in os.walk(wanted.path):
        folders.sort()
        yield from (Path(place, name) for name in sorted(names) if name.endswith(".parquet"))


def has_parquet(wanted: HubName) -> bool:
    """Whether it is a folder or file here whose columns can be chosen."""
    return next(_parquet_files(wanted), None) is not None


def _check_sizes(wanted: HubName) -> None:
    """Raises `UserError` for a parquet file that becomes far more than it is, or has no row, by its footer."""
    from pyarrow import ArrowException, parquet

    for path in _parquet_files(wanted):
        try:
            with regular_file(path)[0] as file:
                size, footer = os.path.getsize(path), parquet.read_metadata(file)
        except (ArrowException, OSError):  # which the library tells of, if it opens it
            continue
        if footer.num_row_groups and not footer.num_rows:  # which the library fails at
            raise UserError(f"{printable(path)} has no row")
        whole = sum(footer.row_group(index).total_byte_size for index in range(footer.num_row_groups))
        limit = max(MAX_SMALL_PARQUET_BYTES, MAX_PARQUET_RATIO * size)
        if whole > limit or footer.num_rows > MAX_DATA_IMAGES:
            raise UserError(
                f"{printable(path)}: {size:,} bytes that say to be {whole:,} in {footer.num_rows:,} rows; at most"
                f" {limit:,} and {MAX_DATA_IMAGES:,} are read"
            )


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
def described(wanted: HubName) -> Iterator[None]:
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
        if any(words in reason for words in DIFFERENT_COLUMNS) and wanted.path is not None:
            raise UserError(
                f"{wanted.source}: its files have different columns, and cannot be read as one table: name one of the"
                f" files, such as {wanted.prefix}{wanted.path}/FILE.parquet"
            ) from None
        if "config" in reason.lower():
            reason += f"; one is named after a colon, {wanted.prefix}{wanted.name}:CONFIGURATION"
        raise UserError(f"{wanted.source} cannot be read: {printable(reason[:MAX_REASON])}") from None
    finally:
        logging.set_verbosity(level)
        if not were_off:
            datasets.enable_progress_bars()
