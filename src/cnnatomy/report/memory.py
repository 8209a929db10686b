"""What `fit` prints: the largest batch that fits, and what its memory is made of."""

from __future__ import annotations

import functools
import json
import re
from typing import Any

from cnnatomy.analysis.memory import footprint as analysis
from cnnatomy.analysis.memory.footprint import Footprint, largest_batch
from cnnatomy.analysis.memory.setting import Setting
from cnnatomy.design import Graph
from cnnatomy.errors import UserError, quoted
from cnnatomy.limits import MAX_BATCH
from cnnatomy.report.tables import Column, mebibytes, render

_UNITS = {"B": 1} | {f"{letter}iB": 2 ** (10 * (i + 1)) for i, letter in enumerate("KMGT")}
_UNITS |= {f"{letter}B": 1000 ** (i + 1) for i, letter in enumerate("kMGT")}
_SHORT_TYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
_MAX_PIECES = 8
"""Of what is alive at the peak, so many are named."""


def parse_size(text: str, option: str = "--memory", least: int = 1) -> int:
    """Bytes of a size as people write it: 8GiB (2^30), 8GB (10^9), 500MiB; `option` is for messages.

    Raises:
        UserError: if it is none.
    """
    match = re.fullmatch(r"\s*(\d{1,20}(?:\.\d{1,20})?)\s*([A-Za-z]{1,3})\s*", text, re.ASCII)
    unit = next((size for name, size in _UNITS.items() if match and name.lower() == match[2].lower()), None)
    if least == 0 and text.strip() == "0":
        return 0
    if match is None or unit is None or float(match[1]) * unit < least:
        raise UserError(
            f"{option} {quoted(text)}: not a size; write a number and one of {', '.join(_UNITS)}, such as 8GiB"
        )
    return int(float(match[1]) * unit)


def record(footprint: Footprint) -> dict[str, Any]:
    """A footprint as plain data; all sizes are bytes."""
    setting = footprint.setting
    kinds = ("parameters", "buffers", "optimizer", "input", "gradients", "saved", "peak", "total")
    return {
        "batch": setting.batch,
        "dtype": setting.dtype,
        "device": setting.device,
        **{kind: getattr(footprint, kind) for kind in kinds},
        "phase": footprint.phase,
        "at": footprint.at,
        "at_peak": footprint.by_kind,
        "alive": [{"path": piece.path, "what": piece.what, "bytes": piece.bytes} for piece in footprint.alive],
        "saved_by": [{"path": path, "bytes": size} for path, size in footprint.saved_by],
    }


def fit(graph: Graph, name: str, room: str, train: bool, options: dict[str, Any], format: str) -> str:
    """The largest batch of a network that fits into so much memory, with what it is made of.

    `options` are the fields of a `Setting` but for the batch.

    Raises:
        UserError: if the room is no size, or an option no setting.
    """
    limit = parse_size(room)
    options["dtype"] = _SHORT_TYPES.get(options["dtype"], options["dtype"])
    setting = Setting(**options)
    run = analysis.training if train else analysis.inference
    takes = functools.cache(lambda batch: run(graph, setting.replace(batch=batch)))
    batch = largest_batch(takes, limit)
    footprint = takes(batch or 1)
    lines = _lines(footprint)
    if format == "json":
        shown = {"name": name, "input": list(graph.inputs[0].shape), "memory": limit, "train": train}
        return json.dumps(shown | {"largest_batch": batch, "footprint": record(footprint)}, indent=2)
    columns = [
        Column("what", "what", shortest=20),
        Column("bytes", "MiB" if format == "table" else "bytes", _mib if format == "table" else "{:,}".format, True),
        Column("where", "where", shortest=20, short="middle"),
    ]
    records = [dict(zip(("what", "bytes", "where"), line, strict=True)) for line in lines]
    title = f"{name}, input {graph.takes}, {_how(setting, train)}"
    table = render(columns, records, format, title)
    return table if format == "csv" else f"{table}\n\n{_verdict(footprint, batch, limit)}"


def _mib(size: int) -> str:
    return f"{size / 2**20:,.2f}"


def _how(setting: Setting, train: bool) -> str:
    how = f"training with {setting.optimizer}, " if train else "inference, "
    how += f"mixed precision in {setting.dtype}" if train and setting.map_bytes == 2 else setting.dtype
    how += ", activations in place" if setting.in_place else ""
    if train and setting.checkpoint:
        how += f", blocks at depth {setting.checkpoint} checkpointed"
    return how + (" on a GPU" if setting.cuda else " on a CPU")


def _verdict(footprint: Footprint, batch: int, limit: int) -> str:
    room = mebibytes(limit)
    if not batch:
        return f"Not one image fits into {room}: it takes {mebibytes(footprint.total)}."
    least = "at least " if batch == MAX_BATCH else ""
    return f"The largest batch that fits into {room} is {least}{batch:,}: it takes {mebibytes(footprint.total)}."


def _lines(footprint: Footprint) -> list[tuple[str, int, str]]:
    """What the memory is made of, one line each: what, bytes, where."""
    lines = [("parameters", footprint.parameters, ""), ("buffers", footprint.buffers, "")]
    if footprint.training:
        lines.append(("state of the optimiser", footprint.optimizer, ""))
    batch = footprint.setting.batch
    lines.append((f"input, {batch:,} image{'s' if batch > 1 else ''}", footprint.input, ""))
    step = "optimiser's step" if footprint.phase == "step" else f"{footprint.phase} {footprint.at}"
    lines.append(("peak of the run", footprint.peak, f"at {step}"))
    pieces = footprint.alive[:_MAX_PIECES]
    lines += [(f"  {piece.what}", piece.bytes, piece.path) for piece in pieces]
    rest = footprint.alive[_MAX_PIECES:]
    if rest:
        lines.append((f"  {len(rest)} more", sum(piece.bytes for piece in rest), ""))
    lines.append(("all", footprint.total, ""))
    if footprint.training:
        lines.append(("of the peak, at most: gradients of weights", footprint.gradients, ""))
        lines.append(("kept by the forward pass", footprint.saved, ""))
    return lines
