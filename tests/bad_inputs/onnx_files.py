# ruff: noqa: E501 - a table has a line for a case, or for many
"""ONNX files that are damaged, hostile, or only strange."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from bad_inputs.case import NO_FILES, Case, Content, case

MAP = [1, 2, 8, 8]


def made(
    nodes: list[Any],
    inputs: Any = (("x", MAP),),
    tensors: Any = (),
    outputs: Any = ("y",),
    opset: int = 17,
    **more: Any,
) -> Any:
    """A model of these nodes; each input is (name, sizes), each tensor (name, array)."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes) for name, sizes in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in tensors],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8, **more)


def node(op: str, inputs: str, outputs: str, **attributes: Any) -> Any:
    """A node; its inputs and outputs are names in one string."""
    from onnx import helper

    return helper.make_node(op, inputs.split(), outputs.split(), **attributes)


def file(build: Callable[[], Any]) -> Content:
    """What writes the model that `build` makes, when it is needed: onnx takes long to import."""

    def write(path: Path) -> None:
        model = build()
        path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())

    return write


def one(
    op: str, weights: dict[str, Any] | None = None, sizes: Any = MAP, opset: int = 17, **attributes: Any
) -> Content:
    """A file of one operator on a map; `weights` are its further inputs."""
    weights = weights or {}

    def build() -> Any:
        names = " ".join(["x", *weights])
        return made([node(op, names, "y", **attributes)], [("x", sizes)], weights.items(), opset=opset)

    return file(build)


def convolution(**attributes: Any) -> Content:
    """A file of one convolution of 2 maps by kernels of 3x3."""
    return file(lambda: _convolution(**attributes))


def _convolution(**attributes: Any) -> Any:
    return made([node("Conv", "x w", "y", **attributes)], tensors=[("w", _zeros(4, 2, 3, 3))])


def _zeros(*sizes: int) -> Any:
    import numpy as np

    return np.zeros(sizes, np.float32)


def computed(*nodes: tuple[str, str, str], tensors: dict[str, list[int]], then: str = "Reshape") -> Content:
    """A file in which these nodes compute a shape `s` of numbers, by which the map is changed."""

    def build() -> Any:
        import numpy as np

        numbers = [(name, np.asarray(values, np.int64)) for name, values in tensors.items()]
        return made([*(node(*words) for words in nodes), node(then, "x s", "y")], tensors=numbers)

    return file(build)


def model(
    what: str,
    content: Content,
    code: int | tuple[int, ...] = 2,
    verb: str = "show",
    options: str = "",
    says: str = r"model\.onnx",
) -> Case:
    """A case that shows a file."""
    says = says if code == 2 else ""
    return case(
        f"{verb}{options}: an ONNX file {what}",
        f"{verb} model.onnx{options}",
        {"model.onnx": content},
        code=code,
        says=says,
    )


def cases() -> Iterator[Case]:
    """All of them."""
    yield from no_models()
    yield from wrong_graphs()
    yield from wrong_operators()
    yield from bombs()
    yield from strange_names()
    for what, make in NO_FILES.items():
        for verb, options in (("show", ""), ("train", " --epochs 1"), ("critique", "")):
            yield model(f"that is {what}", make, verb=verb, options=options)


def _zip() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("model.pb", b"\0" * 1000)
    return packed.getvalue()


def no_models() -> Iterator[Case]:
    """Bytes that are no model."""
    good = partial(_convolution)
    for what, content in {
        "of no bytes": b"", "of a zero byte": b"\0", "of random bytes": bytes(range(256)) * 8, "of 1 MB of 0xff": b"\xff" * 1_000_000,
        "that is text": "this is no model\n", "that is a zip": _zip(), "that is a YAML design": "tail: ReLU\n",
        "that is HTML": "<html>404</html>", "cut in the middle": file(lambda: good().SerializeToString()[:150]),
        "without its last byte": file(lambda: good().SerializeToString()[:-1]),
        "with a byte before it": file(lambda: b"x" + good().SerializeToString()),
        "that is a Git LFS pointer": "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        "of a length that never ends": b"\x3a\xff\xff\xff\xff\x7f", "of 100,000 groups": b"\x3a\x03" * 100_000,
    }.items():  # fmt: skip
        yield model(what, content)


def wrong_graphs() -> Iterator[Case]:
    """Graphs whose nodes do not belong together."""
    relu = lambda: node("Relu", "x", "y")  # noqa: E731 - made when needed
    for what, build in {
        "without nodes": lambda: made([]),
        "without inputs": lambda: made([node("Constant", "", "y", value_float=1.0)], inputs=()),
        "whose node reads nothing": lambda: made([node("Relu", "", "y")]),
        "whose input nobody reads": lambda: made([node("Relu", "z", "y")]),
        "with a missing input": lambda: made([node("Add", "x z", "y")]),
        "with a cycle": lambda: made([node("Add", "x b", "a"), node("Relu", "a", "b"), node("Relu", "b", "y")]),
        "with a node that reads itself": lambda: made([node("Add", "x y", "y")]),
        "with two nodes of one output": lambda: made([node("Relu", "x", "y"), node("Sigmoid", "x", "y")]),
        "with a missing weight": lambda: made([node("Conv", "x w", "y")]),
        "of opset -1": lambda: made([relu()], opset=-1),
        "with an input of no sizes": lambda: made([relu()], [("x", None)]),
        "with an input of negative sizes": lambda: made([relu()], [("x", [1, -2, 8, 8])]),
        "with an input of open sizes": lambda: made([relu()], [("x", ["N", "C", "H", "W"])]),
        "with an input of 10^12 rows": lambda: made([relu()], [("x", [1, 2, 10**12, 8])]),
        "with an input of 2^62 channels": lambda: made([relu()], [("x", [1, 2**62, 8, 8])]),
        "with an input of zero rows": lambda: made([relu()], [("x", [1, 2, 0, 8])]),
    }.items():
        yield model(what, file(build))
    for what, build in {
        "without outputs": lambda: made([relu()], outputs=()),
        "of opset 99999": lambda: made([relu()], opset=99_999),
        "of opset 0": lambda: made([relu()], opset=0),
        "of opset 1": lambda: made([relu()], opset=1),
        "whose output nobody makes": lambda: made([relu()], outputs=("z",)),
        "with an input of one size": lambda: made([relu()], [("x", [7])]),
        "of nodes in the wrong order": lambda: made([node("Relu", "a", "y"), node("Relu", "x", "a")]),
        "with an input that is given twice": lambda: made([relu()], [("x", MAP), ("x", [1, 3, 3, 3])]),
        "of an unknown operator": lambda: made([node("Magic", "x", "y")]),
        "of an operator of an unknown domain": lambda: made([node("Relu", "x", "y", domain="com.example")]),
        "with an empty operator": lambda: made([node("", "x", "y")]),
    }.items():
        yield model(what, file(build), code=(0, 2))
    yield model("of functions that call one another", file(_circle))
    yield model("of functions that double 60 times", file(partial(_doubling_functions, 60)))
    for what, location in {
        "above its folder": "../data",
        "at /etc/passwd": "/etc/passwd",
        "nowhere": "",
        "at a device": "/dev/zero",
    }.items():
        yield model(f"whose weights lie {what}", file(partial(_external, location)))
    yield model("with a tensor of negative size", file(partial(_tensor_of, [-4, 2, 3, 3])))
    yield model("with a tensor of 2^80 numbers", file(partial(_tensor_of, [2**40, 2**40, 3, 3])), code=(0, 2))
    yield model("with a tensor of no bytes", file(partial(_tensor_of, [4, 2, 1, 1])), code=(0, 2))


def _function(name: str, *nodes: Any) -> Any:
    from onnx import helper

    return helper.make_function(
        "own", name, ["a"], ["b"], list(nodes), [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    )


def _with_functions(functions: list[Any]) -> Any:
    from onnx import helper

    whole = made([node("f0", "x", "y", domain="own")], functions=functions)
    whole.opset_import.append(helper.make_opsetid("own", 1))
    return whole


def _circle() -> Any:
    return _with_functions([_function(f"f{i}", node(f"f{1 - i}", "a", "b", domain="own")) for i in range(2)])


def _doubling_functions(levels: int) -> Any:
    inner = [node("f{}", "a", "c", domain="own"), node("f{}", "c", "b", domain="own")]
    functions = []
    for i in range(levels):
        parts = [type(part).FromString(part.SerializeToString()) for part in inner]
        for part in parts:
            part.op_type = f"f{i + 1}"
        functions.append(_function(f"f{i}", *parts))
    return _with_functions([*functions, _function(f"f{levels}", node("Relu", "a", "b"))])


def _external(location: str) -> Any:
    from onnx import TensorProto

    whole = _convolution()
    tensor = whole.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return whole


def _tensor_of(sizes: list[int]) -> Any:
    whole = _convolution()
    tensor = whole.graph.initializer[0]
    tensor.ClearField("raw_data")
    del tensor.dims[:]
    tensor.dims.extend(sizes)
    return whole


def wrong_operators() -> Iterator[Case]:
    """Attributes and weights that do not fit."""
    for what, attributes in {
        "kernel -2": {"kernel_shape": [-2, -2]}, "kernel 0": {"kernel_shape": [0, 0]}, "stride 0": {"strides": [0, 0]},
        "stride -1": {"strides": [-1, -1]}, "a kernel of words": {"kernel_shape": "large"}, "a kernel of one number": {"kernel_shape": 3},
        "a kernel unlike its weights": {"kernel_shape": [5, 5]}, "padding -9": {"pads": [-9, -9, -9, -9]}, "three paddings": {"pads": [1, 1, 1]},
        "groups 0": {"group": 0}, "groups 3": {"group": 3}, "groups -1": {"group": -1}, "groups as a word": {"group": "two"},
        "dilation 0": {"dilations": [0, 0]}, "dilation 10^12": {"dilations": [10**12, 10**12]}, "auto_pad nonsense": {"auto_pad": "MAYBE"},
        "strides of floats": {"strides": [1.5, 2.5]}, "a million strides": {"strides": [1] * 1_000_000},
    }.items():  # fmt: skip
        yield model(f"of a convolution with {what}", convolution(**attributes))
    for what, content in {
        "of a pool of kernel 0": one("MaxPool", kernel_shape=[0, 0]), "of a pool of kernel -3": one("MaxPool", kernel_shape=[-3, -3]),
        "of a pool without a kernel": one("MaxPool"), "of a pool of stride 0": one("AveragePool", kernel_shape=[2, 2], strides=[0, 0]),
        "of a pool larger than its map": one("MaxPool", kernel_shape=[99, 99]),
        "of a pool padded by 2^40": one("MaxPool", kernel_shape=[2, 2], pads=[2**40] * 4),
    }.items():  # fmt: skip
        yield model(what, content)
    for what, content in {
        "of a transpose by axes 9": one("Transpose", perm=[9, 8, 7, 6]), "of a transpose of two axes": one("Transpose", perm=[0, 0, 0, 0]),
        "of a concatenation along axis 99": one("Concat", axis=99), "of a softmax along axis -99": one("Softmax", axis=-99),
        "of a flatten along axis 2^40": one("Flatten", axis=2**40), "of a depth-to-space of 0": one("DepthToSpace", blocksize=0),
        "of a depth-to-space of 3": one("DepthToSpace", blocksize=3), "of a normalisation by 0 groups": one("LRN", size=0),
        "of a map of a string": one("Constant", value_string="x"), "of a cast to type 999": one("Cast", to=999),
        "of a split into 0": one("Split", axis=1, num_outputs=0, opset=18), "of an Einsum of nonsense": one("Einsum", equation="->->"),
    }.items():  # fmt: skip
        yield model(what, content, code=(0, 2))
    yield model("of an unknown operator", one("Magic"), code=(2,), verb="train")
    yield model("of a convolution", convolution(), options=" --input 1x2x3x4", says="axes")
    yield model("of a convolution", convolution(), options=" --input 5x8x8")
    yield model("of a convolution", convolution(), options=" --input 2x1x1")
    yield model("of a convolution", convolution(), options=" --classes 3")
    yield model("of a convolution", convolution(), verb="train", options=" --epochs 1", says="")
    yield model("of a convolution", convolution(), options=" --input 2x1000000x1000000", code=(0, 2))
    yield model("of a convolution", convolution(), verb="time", options=" --input 2x1000000x1000000", says="")


def bombs() -> Iterator[Case]:
    """Few bytes that ask for much."""
    huge = [2**40]
    for what, content in {
        "with a Range of 10^10": computed(("Range", "a b c", "s"), tensors={"a": 0, "b": 10**10, "c": 1}),  # type: ignore[dict-item]
        "with a Range of steps of 0": computed(("Range", "a b c", "s"), tensors={"a": 0, "b": 10, "c": 0}),  # type: ignore[dict-item]
        "with a ConstantOfShape of 2^40": computed(("ConstantOfShape", "a", "s"), tensors={"a": huge}),
        "with a ConstantOfShape of 2^40 x 2^40": computed(("ConstantOfShape", "a", "s"), tensors={"a": huge * 2}),
        "with a ConstantOfShape of -5": computed(("ConstantOfShape", "a", "s"), tensors={"a": [-5]}),
        "with an Expand to 2^40": computed(("Expand", "a b", "s"), tensors={"a": [1], "b": huge}),
        "with a Tile of 2^40": computed(("Tile", "a b", "s"), tensors={"a": [1], "b": huge}),
        "with a Tile of -1": computed(("Tile", "a b", "s"), tensors={"a": [1], "b": [-1]}),
        "with a Pow of 10^18": computed(("Pow", "a b", "s"), tensors={"a": [10**18], "b": [10**18]}),
        "with a division by 0": computed(("Div", "a b", "s"), tensors={"a": [1, 1], "b": [0, 0]}),
        "with a remainder of 0": computed(("Mod", "a b", "s"), tensors={"a": [1, 1], "b": [0, 0]}),
        "with a reshape to a million axes": computed(tensors={"s": [1] * 1_000_000}),
        "with a reshape to nothing": computed(tensors={"s": []}), "with a reshape to -1 and -1": computed(tensors={"s": [-1, -1]}),
        "with a reshape to 2^62": computed(tensors={"s": [1, 2**62]}), "with a reshape to 7": computed(tensors={"s": [1, 7]}),
        "expanded to 2^40 pixels": computed(tensors={"s": [1, 2, 2**40, 8]}, then="Expand"),
        "tiled 2^40 times": computed(tensors={"s": [1, 1, 2**40, 2**40]}, then="Tile"),
        "tiled zero times": computed(tensors={"s": [0, 0, 0, 0]}, then="Tile"),
        "tiled -3 times": computed(tensors={"s": [1, -3, 1, 1]}, then="Tile"),
        "gathered at 2^40": computed(tensors={"s": huge}, then="Gather"),
        "unsqueezed at 2^40": computed(tensors={"s": huge}, then="Unsqueeze"), "unsqueezed at 50,000 axes": computed(tensors={"s": list(range(50_000))}, then="Unsqueeze"),
        "padded by 2^40": one_padded([2**40] * 8), "padded by -2^40": one_padded([-(2**40)] * 8),
        "summed along axis 2^40": computed(tensors={"s": huge}, then="ReduceSum"),
    }.items():  # fmt: skip
        yield model(what, content, code=(0, 2))
    for op in ("Concat", "Add", "Mul", "Outer"):
        yield model(
            f"of a chain of 60 doublings by {op}", file(partial(_doubling, op, 60, constant=False)), code=(0, 2)
        )
        yield model(
            f"of a shape doubled 60 times by {op}", file(partial(_doubling, op, 60, constant=True)), code=(0, 2)
        )
    yield model("of 120,000 nodes", file(partial(_chain, 120_000)))
    yield model("of 12,000 nodes", file(partial(_chain, 12_000)), code=0)
    yield model("of 100,000 constants", file(partial(_constants, 100_000)), code=(0, 2))
    yield model("of graphs nested 60 deep", file(partial(_nested, 60)), code=(0, 2))
    yield model("of graphs nested 3,000 deep", file(partial(_nested, 3_000)))
    yield model("of loops of 2^40 turns", file(_loop), code=(0, 2))
    yield model("with a resize by 10^30", file(partial(_resized, 1e30)), code=(0, 2))
    yield model("with a resize by NaN", file(partial(_resized, float("nan"))), code=(0, 2))
    yield model("with a resize by -1", file(partial(_resized, -1.0)), code=(0, 2))
    yield model("with a resize by 0", file(partial(_resized, 0.0)), code=(0, 2))


def one_padded(numbers: list[int]) -> Content:
    """A file that pads a map."""
    return computed(tensors={"s": numbers}, then="Pad")


def _doubling(op: str, times: int, constant: bool) -> Any:
    import numpy as np

    if op == "Outer":
        steps = [
            [node("Unsqueeze", f"v{i} axis", f"u{i}"), node("Concat", f"u{i} u{i}", f"v{i + 1}", axis=0)]
            for i in range(times)
        ]
    elif op == "Concat":
        steps = [[node("Concat", f"v{i} v{i}", f"v{i + 1}", axis=0)] for i in range(times)]
    else:
        steps = [[node(op, f"v{i} v{i}", f"v{i + 1}")] for i in range(times)]
    nodes = [part for step in steps for part in step]
    axis = ("axis", np.asarray([0], np.int64))
    if constant:
        return made([*nodes, node("Reshape", f"x v{times}", "y")], tensors=[("v0", np.asarray([3, 3], np.int64)), axis])
    return made([node("Relu", "x", "v0"), *nodes], outputs=(f"v{times}",), tensors=[axis])


def _chain(length: int) -> Any:
    nodes = [node("Relu", f"v{i}", f"v{i + 1}") for i in range(length)]
    return made(nodes, [("v0", MAP)], outputs=(f"v{length}",))


def _constants(count: int) -> Any:
    return made([*(node("Constant", "", f"c{i}", value_int=i) for i in range(count)), node("Relu", "x", "y")])


def _nested(depth: int) -> Any:
    """Conditions in conditions, put together as bytes: protobuf's own Python copies them at each level."""
    from onnx import helper

    def field(number: int, content: bytes) -> bytes:
        size, length = b"", len(content)
        while length > 127:
            size, length = size + bytes([length & 127 | 128]), length >> 7
        key = number << 3 | 2
        return (bytes([key]) if key < 128 else bytes([key & 127 | 128, key >> 7])) + size + bytes([length]) + content

    whole = made([node("Relu", "x", "y")])
    graph = whole.graph.SerializeToString()
    for _ in range(depth):
        branch = field(1, b"then_branch") + b"\xa0\x01\x05" + field(6, graph)
        graph = field(1, field(1, b"x") + field(2, b"y") + field(4, b"If") + field(5, branch)) + field(2, b"g")
    ending = helper.make_graph([], "graph", list(whole.graph.input), list(whole.graph.output)).SerializeToString()
    return b"\x08\x08" + field(7, graph + ending) + field(8, b"\x10\x11")


def _loop() -> Any:
    import numpy as np
    from onnx import TensorProto, helper

    flag = helper.make_tensor_value_info("go", TensorProto.BOOL, [])
    count = helper.make_tensor_value_info("i", TensorProto.INT64, [])
    value, after = (helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("v", "w"))
    on = helper.make_tensor_value_info("on", TensorProto.BOOL, [])
    body = helper.make_graph(
        [node("Concat", "v v", "w", axis=0), node("Identity", "go", "on")], "body", [count, flag, value], [on, after]
    )
    turns = [("n", np.asarray(2**40, np.int64)), ("t", np.asarray(True))]
    return made([node("Loop", "n t x", "y", body=body)], tensors=turns)


def _resized(scale: float) -> Any:
    import numpy as np

    scales = np.asarray([1, 1, scale, scale], np.float32)
    from onnx import helper

    return made([helper.make_node("Resize", ["x", "", "s"], ["y"])], tensors=[("s", scales)])


def strange_names() -> Iterator[Case]:
    """Names that would do something to a terminal, or fill it."""
    for what, name in {
        "escape sequences": "\x1b[31mred\x1b[0m", "a newline": "two\nlines", "a carriage return": "over\rwritten", "a megabyte": "n" * 1_000_000,
        "control characters of Unicode": "\u009b31m\u202e", "only slashes": "////", "a zero byte": "a\0b", "dots": "../../..", "an emoji": "🦊",
        "100,000 slashes": "a/" * 100_000,
    }.items():  # fmt: skip
        yield model(f"with a node named by {what}", file(partial(_named, name)), code=(0, 2))
        yield model(f"with an operator named by {what}", file(partial(_operator, name)), code=(0, 2))
        yield model(f"whose missing input is named by {what}", file(partial(_missing, name)))


def _named(name: str) -> Any:
    whole = made([node("Relu", "x", "y")])
    whole.graph.node[0].name = name
    return whole


def _operator(name: str) -> Any:
    return made([node(name.replace(" ", ""), "x", "y")])


def _missing(name: str) -> Any:
    from onnx import helper

    return made([helper.make_node("Add", ["x", name], ["y"])])
