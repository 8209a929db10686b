"""Accounts as plain data: what `--format json` prints. The format is a promise, documented in `docs/json.md`."""

from __future__ import annotations

import dataclasses
from typing import Any

from cnnatomy.analysis import Account, ReceptiveField, Row, Subtotal, Totals
from cnnatomy.analysis.conventions import conventions
from cnnatomy.layers.layer import UNKNOWN

BYTES = 4
"""Bytes of a float32 number."""


def account_record(account: Account, depth: int | None = None) -> dict[str, Any]:
    """The whole account; with a depth, `nodes` are the parts of the tree cut there."""
    nodes = account.rows if depth is None else account.at_depth(depth)
    field = account.receptive_field
    return {
        "name": account.name,
        "input": list(account.input),
        "totals": totals_record(account.totals) | {"depth": account.depth} | peak_record(account),
        "conventions": conventions(account),
        "receptive_field": list(field.size),
        "stride": [_number(s) for s in field.stride],
        "features": list(account.features.shape),
        "unused": [{"name": name, "shape": list(shape)} for name, shape in account.graph.unused],
        "nodes": [subtotal_record(node) if isinstance(node, Subtotal) else row_record(node) for node in nodes],
    }


def totals_record(totals: Totals) -> dict[str, int]:
    """The sums, and their bytes as float32."""
    return dataclasses.asdict(totals) | {
        "parameter_bytes": totals.parameters * BYTES,
        "feature_map_bytes": totals.feature_map_elements * BYTES,
    }


def peak_record(account: Account) -> dict[str, Any]:
    """The most bytes of feature maps at once, the input included, and the layer that runs then."""
    memory = account.inference_memory
    return {"peak_feature_map_bytes": memory.input + memory.peak, "peak_feature_map_at": memory.at}


def row_record(row: Row) -> dict[str, Any]:
    """One layer."""
    operations = row.operations
    return {
        "path": row.path,
        "kind": row.kind,
        "layer": row.layer,
        "inputs": [list(shape) for shape in row.inputs],
        "output": list(row.output),
        "layers": 1,
        "parameters": row.parameters,
        "weights": row.weights,
        "buffers": row.buffers,
        "macs": operations.mac,
        "multiplies": operations.multiply,
        "adds": operations.add,
        "compares": operations.compare,
        "divides": operations.divide,
        "exponentials": operations.exponential,
        "feature_map_elements": row.feature_map_elements,
        "feature_map_bytes": row.feature_map_elements * BYTES,
        "not_counted": int(row.kind == UNKNOWN),
        **_sight(row.receptive_field),
    }


def subtotal_record(part: Subtotal) -> dict[str, Any]:
    """One part of the tree: the keys of a layer, and how many layers it sums up."""
    totals = totals_record(part.totals)
    del totals["parameter_bytes"]
    return {
        "path": part.path,
        "kind": "block",
        "layer": part.what,
        "inputs": [list(shape) for shape in part.inputs],
        "output": list(part.output),
        **totals,
        **_sight(part.receptive_field),
    }


def _sight(field: ReceptiveField) -> dict[str, Any]:
    return {
        "receptive_field": list(field.size),
        "stride": [_number(s) for s in field.stride],
        "centre": list(field.centre),
        "sees_all": field.sees_all,
    }


def _number(step: Any) -> int | float:
    return step if isinstance(step, int) else float(step)
