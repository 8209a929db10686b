"""ONNX operators with graphs in them: If, Loop, Scan and SequenceMap, read as if they were written out.

That needs which branch is taken, and how often a body runs, to be known; otherwise the node is not counted, with the
sizes that onnx infers or the file says, or refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx

from cnnatomy.errors import UserError, quoted
from cnnatomy.layers.layer import NO_OPERATIONS, REARRANGEMENT
from cnnatomy.limits import MAX_ONNX_NODES
from cnnatomy.readers.onnx.call import NodeCall, OnnxResult
from cnnatomy.readers.onnx.checks import node_text
from cnnatomy.readers.onnx.functions import graphs_of, names_in, rename
from cnnatomy.readers.onnx.inference import reads
from cnnatomy.readers.onnx.model import OnnxModel
from cnnatomy.readers.onnx.sequences import cut, resized
from cnnatomy.readers.onnx.values import REAL, Known, Mapped, OnnxValue, TensorList, TensorValue

ReadNode = Callable[[OnnxModel, Any], None]
"""Reads one node of a graph."""

_SIZES_ONLY = ("Shape", "Size", "SequenceLength", "OptionalHasElement")
"""Operators whose output does not depend on the numbers that they read."""


class Body(NamedTuple):
    """A graph that is an attribute of a node, its nodes, and their own paths."""

    graph: Any
    nodes: list[Any]
    paths: dict[int, tuple[str, ...]]


class Control:
    """A node with graphs in it, and its inputs, sequences among them."""

    def __init__(self, call: NodeCall, inputs: Sequence[OnnxValue | None], read: ReadNode) -> None:
        self.call, self.inputs, self.read_node, self.model = call, inputs, read, call.model
        self.path = call.model.path(call.node)

    def body(self, name: str) -> Body:
        """The graph of an attribute, whose tensors are then known."""
        key = (id(self.call.node), name)
        if key not in self.model.bodies:
            graph = self.call.attributes.get(name)
            if not isinstance(graph, onnx.GraphProto):
                raise self.call.refusal(f"the attribute {name} is missing")
            model, nodes = self.model, list(graph.node)
            paths = model.name_nodes(nodes)
            number = len(model.bodies)  # graphs side by side may use a name for two tensors
            rename(graph, {one: f"{one} ({number})" for one in names_in(graph) if one in model.named})
            model.initialise(graph)
            model.outputs |= {output.name for output in graph.output}
            model.bodies[key] = Body(graph, nodes, paths)
        body: Body = self.model.bodies[key]
        return body

    def run(self, body: Body, values: Sequence[OnnxValue], where: str, part: str = "") -> list[OnnxValue]:
        """The outputs of a body for these inputs; `where` says in messages which run it is, `part` in paths."""
        model, graph = self.model, body.graph
        if len(values) != len(graph.input):
            raise self.call.refusal(f"its body has {len(graph.input):,} inputs, {len(values):,} are needed")
        model.unrolled += 1 + len(body.nodes)
        if model.unrolled > MAX_ONNX_NODES:
            raise self.call.refusal(f"written out, what loops repeat is more than {MAX_ONNX_NODES:,} nodes")
        for info, value in zip(graph.input, values, strict=True):
            model.env[info.name] = value
        prefix = (*self.path, part) if part else ()
        model.paths.update((key, (*prefix, *path)) for key, path in body.paths.items())
        model.merged -= body.paths.keys()
        try:
            for node in body.nodes:
                if id(node) not in model.merged:
                    self.read_node(model, node)
        except UserError as error:
            raise UserError(f"{node_text(self.call.node)}, {where}: {error}") from None
        missing = next((output.name for output in graph.output if output.name not in model.env), None)
        if missing is not None:
            raise self.call.refusal(f"an output of {where}, {quoted(missing)}, is made by no node")
        return [model.env[output.name] for output in graph.output]

    def undecided(self, reason: str) -> OnnxResult:
        """The node as not counted, with all maps and tensors that its graphs read.

        Raises:
            UserError: if the sizes of its outputs are not known either; it says the reason.
        """
        call, model, graphs = self.call, self.model, list(graphs_of(self.call.node))
        names = dict.fromkeys(name for graph in graphs for name in reads(graph))
        outer = [value for name in names if (value := model.env.get(name)) is not None]
        inner = [model.constant(t, t.name, t.data_type in REAL) for graph in graphs for t in graph.initializer]
        call.maps += [value for value in outer if isinstance(value, Mapped) and value not in call.maps]
        call.inputs = [*call.inputs, *(value for value in (*outer, *inner) if isinstance(value, Known))]
        try:
            return call.unknown()
        except UserError as error:
            raise UserError(f"{error}. It is not written out, because {reason}") from None

    def stacked(self, passes: Sequence[OnnxValue], output: int, axis: int = 0) -> TensorValue:
        """What each pass made, along a new axis."""
        call = self.call
        made = [value for value in passes if isinstance(value, (Known, Mapped))]
        if not made or len(made) < len(passes):
            dims = call.sizes_of(output)  # it has not run
            return Known(dims, call.node.output[output], type=call.type_of(output))
        inner = made[0].dims
        if any(value.dims != inner for value in made):
            raise call.refusal(f"its passes make tensors of other sizes for {quoted(call.node.output[output])}")
        axis = call.axis_of(axis, len(inner) + 1)
        dims = (*inner[:axis], len(made), *inner[axis:])
        maps = [value for value in made if isinstance(value, Mapped)]
        if not maps:
            known = [value for value in made if isinstance(value, Known)]
            values = [value.value for value in known if value.value is not None]
            array = np.stack([v.reshape(inner) for v in values], axis) if len(values) == len(known) else None
            learned = tuple(dict.fromkeys(tensor for value in known for tensor in value.learned))
            return Known(dims, call.node.output[output], array, learned, known[0].type)
        batch = maps[0].batch
        if batch is not None and batch.axis >= axis:
            batch = batch._replace(axis=batch.axis + 1)
        inputs = [value.map for value in maps]
        return call.foreign(dims, NO_OPERATIONS, REARRANGEMENT, *inputs, batch=batch, output=output)


def branches(control: Control) -> OnnxResult:
    """If: the branch that its condition chooses."""
    choice = control.call.known(0)
    if choice is None or choice.number is None:
        return control.undecided("which branch it takes depends on the data")
    name = "then_branch" if choice.number else "else_branch"
    body = control.body(name)
    for output, inner in zip(control.call.node.output, body.graph.output, strict=False):
        control.model.taken[output].add(inner.name)
    return control.run(body, [], f"its {name}")


def loop(control: Control) -> OnnxResult:
    """Loop: its body as often as it runs, each pass with what the one before made."""
    call, body = control.call, control.body("body")
    trips, going, carried = call.known(0), call.known(1), list(control.inputs[2:])
    for i, (known, what) in enumerate(((trips, "how often it runs"), (going, "whether it runs"))):
        if call.given(i) and (known is None or known.number is None):
            return control.undecided(f"{what} depends on the data")
    if None in carried:
        raise call.refusal("an input that it carries from pass to pass is missing")
    if _depends(body, control):
        return control.undecided("whether it goes on depends on the data")
    most = int(trips.number) if trips is not None and trips.number is not None else None
    on = going is None or bool(going.number)
    values: list[OnnxValue] = [value for value in carried if value is not None]
    scans: list[list[OnnxValue]] = []
    while on and (most is None or len(scans) < most):
        number = Known((), "", np.asarray(len(scans), np.int64), type=int(onnx.TensorProto.INT64))
        truth = Known((), "", np.asarray(True), type=int(onnx.TensorProto.BOOL))
        made = control.run(body, [number, truth, *values], f"pass {len(scans) + 1}", f"pass{len(scans) + 1}")
        after = made[0]
        if not isinstance(after, Known) or after.number is None:
            raise call.refusal(f"whether it goes on after pass {len(scans) + 1} is not known")
        on = bool(after.number)
        values = made[1 : 1 + len(values)]
        scans.append(made[1 + len(values) :])
    extra = range(len(values), len(call.node.output))
    return [*values, *(control.stacked([scan[i - len(values)] for scan in scans], i) for i in extra)]


def _depends(body: Body, control: Control) -> bool:
    """Whether the first output of a body depends on the numbers of a map, in this pass or a later one."""
    env, inputs = control.model.env, [info.name for info in body.graph.input]
    outputs = [info.name for info in body.graph.output]
    found = {
        name
        for name, value in zip(inputs[2:], control.inputs[2:], strict=False)
        if isinstance(value, (Mapped, TensorList))
    }
    while True:
        before = len(found)
        for node in body.nodes:
            names = {*node.input, *(name for graph in graphs_of(node) for name in reads(graph))}
            outer = (name for name in names if name not in inputs and isinstance(env.get(name), (Mapped, TensorList)))
            if node.op_type not in _SIZES_ONLY and (names & found or any(outer)):
                found.update(node.output)
        found.update(name for name, output in zip(inputs[2:], outputs[1:], strict=False) if output in found)
        if len(found) == before:
            return outputs[0] in found if outputs else False


def scan(control: Control) -> OnnxResult:
    """Scan: its body for each step along an axis of some inputs."""
    call = control.call
    if call.model.opset < 9:  # for each image by itself
        return control.undecided("in this version it runs over each image by itself")
    body, count = control.body("body"), call.integer("num_scan_inputs", 1)
    given = [value for value in control.inputs if isinstance(value, (Known, Mapped))]
    if not 1 <= count <= len(given) or len(given) != len(control.inputs):
        raise call.refusal(f"num_scan_inputs is {count}; it has {len(given)} inputs")
    states: list[OnnxValue] = list(given[:-count])
    steps = given[-count:]
    axes = call.integers("scan_input_axes") or (0,) * count
    backwards = call.integers("scan_input_directions") or (0,) * count
    if len(axes) != count or len(backwards) != count:
        raise call.refusal(f"scan_input_axes and scan_input_directions need {count} numbers each")
    places = [call.axis_of(axis, len(x.dims)) for axis, x in zip(axes, steps, strict=True)]
    lengths = {x.dims[axis] for axis, x in zip(places, steps, strict=True)}
    if len(lengths) != 1:
        raise call.refusal(f"its inputs have {' and '.join(map(str, sorted(lengths)))} steps; as many are needed")
    length = lengths.pop()
    if control.model.unrolled + length * (1 + len(body.nodes)) > MAX_ONNX_NODES:
        return control.undecided(f"its {length:,} steps would be more than {MAX_ONNX_NODES:,} nodes")
    made: list[list[OnnxValue]] = []
    for i in range(length):
        parts: list[OnnxValue] = []
        control.model.paths[id(call.node)] = (*control.path, f"step{i + 1}")
        for x, axis, back in zip(steps, places, backwards, strict=True):
            part = cut(call, x, axis, length - 1 - i if back else i, 1, "slice")
            parts.append(resized(call, part, (*x.dims[:axis], *x.dims[axis + 1 :]), "reshape"))
        outputs = control.run(body, [*states, *parts], f"step {i + 1}", f"step{i + 1}")
        states = outputs[: len(states)]
        made.append(outputs[len(states) :])
    control.model.paths[id(call.node)] = control.path
    extra = range(len(states), len(call.node.output))
    along = call.integers("scan_output_axes") or (0,) * len(extra)
    if len(along) != len(extra):
        raise call.refusal(f"scan_output_axes needs {len(extra)} numbers")
    return [
        *states,
        *(control.stacked([one[i - len(states)] for one in made], i, along[i - len(states)]) for i in extra),
    ]


def mapped_sequence(control: Control) -> OnnxResult:
    """SequenceMap: its body for each tensor of a sequence."""
    first = control.inputs[0]
    if not isinstance(first, TensorList):
        raise control.call.refusal("its first input is no sequence")
    body, made = control.body("body"), []
    for i in range(len(first.items)):
        values: list[OnnxValue] = []
        for value in control.inputs:
            if isinstance(value, TensorList) and i >= len(value.items):
                raise control.call.refusal(
                    f"a sequence has {len(value.items):,} tensors, {len(first.items):,} are needed"
                )
            if value is not None:
                values.append(value.items[i] if isinstance(value, TensorList) else value)
        made.append(control.run(body, values, f"tensor {i + 1}", f"tensor{i + 1}"))
    outputs = range(len(control.call.node.output))
    return [TensorList(tuple(x for one in made if isinstance(x := one[i], (Known, Mapped)))) for i in outputs]


CONTROL: dict[str, Callable[[Control], OnnxResult]] = {
    "If": branches,
    "Loop": loop,
    "Scan": scan,
    "SequenceMap": mapped_sequence,
}
"""Operators with graphs in them, and what reads them."""
