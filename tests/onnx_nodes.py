"""ONNX's own tests of its operators, and what becomes of them: the table of docs/onnx-nodes.md."""

from __future__ import annotations

import importlib
import pkgutil
import warnings
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx.backend.test.case import node as cases  # noqa: E402 - onnx may be missing

from cnnatomy.errors import UserError  # noqa: E402
from cnnatomy.readers.onnx.checks import check_names  # noqa: E402
from cnnatomy.readers.onnx.functions import inlined  # noqa: E402
from cnnatomy.readers.onnx.model import OnnxModel  # noqa: E402
from cnnatomy.readers.onnx.values import Known, TensorList  # noqa: E402
from cnnatomy.readers.onnx.walk import walk  # noqa: E402

OUTCOMES = ("equal", "equal up to the batch", "rests on data", "refused")


class Case(NamedTuple):
    """A test of onnx: its name, its model, its inputs, and the sizes of the outputs that it expects."""

    name: str
    model: Any
    inputs: list[Any]
    outputs: list[Any]


DATA = Path(onnx.__file__).parent / "backend/test/data"
FOLDERS = ("pytorch-converted", "pytorch-operator", "simple")

_made: dict[str, list[Case]] = {}


def groups() -> list[str]:
    """The names of the modules of onnx, one for each operator, and of its folders of small models."""
    found = pkgutil.walk_packages(cases.__path__, f"{cases.__name__}.")
    return [*FOLDERS, *sorted(name.removeprefix(f"{cases.__name__}.") for _, name, package in found if not package)]


def cases_of(group: str) -> list[Case]:
    """The tests of one operator, or of a folder; making them takes onnx some seconds for all."""
    if group in FOLDERS:
        return [_in_folder(folder) for folder in sorted((DATA / group).iterdir()) if (folder / "model.onnx").is_file()]
    if group not in _made:
        before = len(cases._NodeTestCases)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module(f"{cases.__name__}.{group}")
        _made[group] = [
            Case(case.name, case.model, list(case.data_sets[0][0]), list(map(_dims, case.data_sets[0][1])))
            for case in cases._NodeTestCases[before:]
        ]
    return _made[group]


def _in_folder(folder: Path) -> Case:
    data = folder / "test_data_set_0"
    outputs = [_of_bytes(path.read_bytes()) for path in sorted(data.glob("output_*.pb"))]
    model = onnx.load(folder / "model.onnx")
    inputs = [onnx.TensorProto.FromString(path.read_bytes()) for path in sorted(data.glob("input_*.pb"))]
    return Case(folder.name, model, inputs, outputs)


def _of_bytes(content: bytes) -> Any:
    return tuple(onnx.TensorProto.FromString(content).dims)


def _dims(value: Any) -> Any:
    """All sizes of a tensor, those of each of a sequence."""
    if isinstance(value, (list, tuple)):
        return [_dims(one) for one in value]
    return tuple(value.dims) if isinstance(value, onnx.TensorProto) else tuple(np.shape(value))


def outcome(model: Any, expected: list[Any]) -> str:
    """What becomes of a test: one of `OUTCOMES`, or what is wrong."""
    try:
        model = inlined(model)
        check_names(model.graph)
        read = OnnxModel(model, None)
        graph = walk(read)
    except UserError as error:
        return "refused" if "is not valid" not in str(error) else f"wrong: {error}"
    resting = graph.resting()
    found = set()
    for output, dims in zip(model.graph.output, expected, strict=True):
        value = read.env.get(output.name)
        if isinstance(value, TensorList):
            found.add("equal" if [item.dims for item in value.items] == dims else f"wrong: {output.name}")
        elif value is None or not isinstance(dims, tuple):
            found.add(f"wrong: {output.name} is missing")
        elif isinstance(value, Known):
            marked = "rests on data" if value.assumed else f"wrong: {output.name} is {value.dims}, not {dims}"
            found.add("equal" if value.dims == dims else marked)
        elif value.map.node in resting:
            found.add("rests on data")
        elif _without(value.dims, value.batch, dims):
            found.add("equal" if value.shape in (dims, dims or (1,)) else "equal up to the batch")
        else:
            found.add(f"wrong: {output.name} is {value.dims}, not {dims}")
    wrong = [what for what in found if what.startswith("wrong")]
    return wrong[0] if wrong else max(found, key=OUTCOMES.index)


def _without(got: Any, batch: Any, dims: Any) -> bool:
    """Whether sizes are the same; a batch of no images is read as one of one."""
    if len(got) != len(dims):
        return False
    pairs = enumerate(zip(got, dims, strict=True))
    return all(a == b or (batch is not None and i == batch.axis and b == 0) for i, (a, b) in pairs)


def known_but_the_first(case: Case) -> Any:
    """The model with all inputs but the first as tensors of the file, that says nothing of its outputs."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    for output in model.graph.output:
        if output.type.HasField("tensor_type"):
            output.type.tensor_type.ClearField("shape")
    values = [*case.inputs, *[None] * len(model.graph.input)]
    kept = [info for i, info in enumerate(model.graph.input) if not i or not _stored(model, info, values[i])]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    return model


def _stored(model: Any, info: Any, value: Any) -> bool:
    """Adds the value of an input to the tensors of the file; False where it is no tensor of numbers."""
    if not isinstance(value, (np.ndarray, np.generic)) or np.asarray(value).dtype.kind in "OSU":
        return False
    try:
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), info.name))
    except (KeyError, ValueError, TypeError):  # a type of numbers that numpy does not know
        return False
    return True


def row(group: str) -> str:
    """A row of the table: how many tests of an operator have which outcome."""
    counted = Counter(outcome(case.model, case.outputs) for case in cases_of(group))
    return f"| {group} | {' | '.join(str(counted[name] or '-') for name in OUTCOMES)} |"


def page() -> str:
    """docs/onnx-nodes.md"""
    rows = [row(group) for group in groups() if cases_of(group)]
    totals = [sum(int(line.split("|")[i].replace("-", "0")) for line in rows) for i in range(2, 6)]
    return "\n".join(
        [
            "# ONNX's own tests of its operators",
            "",
            "<!-- Generated by `make tables`; do not edit. -->",
            "",
            f"What becomes of {sum(totals):,} tests that the onnx package ({onnx.__version__}) has, most of them",
            "of one operator: the sizes of all outputs are compared with those that the test expects. *Up to the",
            "batch* means equal but for the axis of the images, which a feature map does not have. *Rests on",
            "data* is read and marked `~`: only running tells how large it is. *Refused* is refused where the",
            "reason is: an input is a sequence or a text, sizes are computed from the data, or no output depends",
            "on an input. Nothing is wrong in silence.",
            "",
            "| operator | equal | up to the batch | rests on data | refused |",
            "| --- | ---: | ---: | ---: | ---: |",
            *rows,
            f"| **all** | {' | '.join(f'**{n:,}**' for n in totals)} |",
            "",
        ]
    )
