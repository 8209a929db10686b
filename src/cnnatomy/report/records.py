"""Accounts as plain data: what `--format json` prints. The format is a promise, documented in `docs/json.md`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from cnnatomy.analysis import Account, ReceptiveField, Row, Subtotal, Totals
from cnnatomy.analysis.conventions import conventions
from cnnatomy.analysis.edges import Edges
from cnnatomy.design import Scope
from cnnatomy.layers.layer import UNKNOWN

if TYPE_CHECKING:
    from cnnatomy.readers.yaml.lines import Lines

BYTES = 4
"""Bytes of a float32 number."""


def account_record(account: Account, depth: int | None = None, lines: Lines | None = None) -> dict[str, Any]:
    """The whole account; with a depth, `nodes` are the parts of the tree cut there; with `lines`, those of a design."""
    nodes = account.rows if depth is None else account.at_depth(depth)
    edges = Edges(account.graph, nodes)
    field = account.receptive_field

    def placed(record: dict[str, Any]) -> dict[str, Any]:
        if not account.has_pixels and "centre" in record:
            record |= NOTHING_SEEN
        return record | ({"line": lines.of(record["path"])} if lines else {})

    return {
        "name": account.name,
        "input": list(account.input),
        "totals": totals_record(account.totals)
        | {"rests_on": list(account.rests_on), "depth": account.depth}
        | peak_record(account),
        "conventions": conventions(account),
        **(
            {key: got for key, got in _sight(field).items() if key in SEEN}
            if account.has_pixels
            else dict.fromkeys(SEEN)
        ),
        "features": list(account.features.shape),
        "unused": [{"name": name, "shape": list(shape)} for name, shape in account.graph.unused],
        "inputs": [
            {"name": name, "shape": list(x.shape)} for name, x in zip(edges.inputs, account.graph.inputs, strict=True)
        ],
        "outputs": edges.outputs,
        "scopes": [placed(record) for record in _scope_records(account.graph.root, depth)],
        "nodes": [
            placed((subtotal_record(node) if isinstance(node, Subtotal) else row_record(node)) | {"reads": reads})
            for node, reads in zip(nodes, edges.reads, strict=True)
        ],
    }


SEEN = ("receptive_field", "stride")
"""Keys of what a network sees of its input."""

NOTHING_SEEN = dict.fromkeys((*SEEN, "centre"))
"""The same of a layer, and where the middle of it is, where no input has rows and columns."""


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
        "assumed": int(row.rests_on != ()),
        "rests_on": list(row.rests_on),
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


def _scope_records(scope: Scope, depth: int | None) -> Iterator[dict[str, Any]]:
    """The blocks below a scope, in the order of the tree, down to a depth."""
    for child in scope.children:
        if isinstance(child, Scope) and depth != 0:
            yield {"path": child.path, "block": repr(child.block)}
            yield from _scope_records(child, depth and depth - 1)


def _sight(field: ReceptiveField) -> dict[str, Any]:
    return {
        "receptive_field": list(field.size),
        "stride": [_number(s) for s in field.stride],
        "centre": list(field.centre),
        "sees_all": field.sees_all,
    }


def _number(step: Any) -> int | float:
    return step if isinstance(step, int) else float(step)
