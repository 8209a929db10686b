# ruff: noqa: E501 - a table has a line for a case, or for many
"""Caffe's prototxt files that are damaged, hostile, or only strange."""

from __future__ import annotations

from collections.abc import Iterator

from bad_inputs.case import NO_FILES, Case, Content, case

DATA = 'name: "net"\ninput: "data"\ninput_shape { dim: 1 dim: 3 dim: 8 dim: 8 }\n'
LAYER = 'layer {{ name: "{name}" type: "{kind}" bottom: "{bottom}" top: "{top}" {options} }}\n'
GOOD = DATA + LAYER.format(
    name="c", kind="Convolution", bottom="data", top="c", options="convolution_param { num_output: 4 kernel_size: 3 }"
)


def layer(kind: str, options: str = "", bottom: str = "data", name: str = "a", top: str = "a") -> str:
    """A net of one layer, on line 4."""
    return DATA + LAYER.format(name=name, kind=kind, bottom=bottom, top=top, options=options)


def net(
    what: str,
    text: Content,
    code: int | tuple[int, ...] = 2,
    line: int | None = None,
    verb: str = "show",
    options: str = "",
) -> Case:
    """A case that reads a file."""
    says = (r"net\.prototxt" + (f", line {line}\\b" if line else "")) if code == 2 else ""
    return case(
        f"{verb}{options}: a prototxt {what}",
        f"{verb} net.prototxt{options}",
        {"net.prototxt": text},
        code=code,
        says=says,
    )


def cases() -> Iterator[Case]:
    """All of them."""
    yield from no_text()
    yield from wrong_fields()
    yield from wrong_layers()
    yield from large()
    for what, make in NO_FILES.items():
        for verb, options in (("show", ""), ("fit", " --memory 1GiB"), ("train", " --epochs 1")):
            yield net(f"that is {what}", make, verb=verb, options=options)


def no_text() -> Iterator[Case]:
    """What is no text format."""
    for what, content in {
        "of no bytes": b"", "of only comments": "# nothing\n", "of random bytes": bytes(range(256)) * 4, "in UTF-16": GOOD.encode("utf-16"),
        "in Latin-1": GOOD.encode() + b"# gr\xf6\xdfer\n", "that is a solver": 'net: "train.prototxt"\nbase_lr: 0.01\nmax_iter: 10\n',
        "that is YAML": "tail: ReLU\nbody: ReLU\n", "that is JSON": '{"layers": []}', "that is XML": "<net><layer/></net>",
        "that is a caffemodel": b"\n\x03net\x12\x04data\x1a" + bytes(200), "of only a name": 'name: "net"\n', "of only an input": DATA,
        "of zero bytes": b"\0" * 1000,
    }.items():  # fmt: skip
        yield net(what, content)
    for what, text, line in (
        ("with an open string", DATA + 'layer { name: "a\n', 4), ("with an open brace", DATA + "layer { name: 'a'\n", None),
        ("with a brace too many", GOOD + "}\n", 5), ("with a bracket of the wrong kind", DATA + "layer { name: 'a' >\n", 4),
        ("with a field without a name", DATA + ": 3\n", 4), ("with a field without a value", DATA + "layer { name: }\n", 4),
        ("with a colon too many", DATA + "layer:: {}\n", 4), ("with a number of 400 digits", DATA + f"x: {'9' * 400}\n", 4),
        ("with a number of 5,000 digits", DATA + f"x: {'9' * 5000}\n", 4), ("with a list that never ends", DATA + "x: [1, 2\n", None),
        ("with a list of commas", DATA + "x: [,,,]\n", 4), ("with a control character", DATA + "\x07\n", 4), ("with an escape sequence", DATA + "\x1b[31m\n", 4),
        ("with a curly quote", DATA + "name: “net”\n", 4), ("with a word of 9 MB", DATA + "x" * 9_000_000 + "\n", None),
        ("with half an exponent", DATA + "x: 1e\n", 4), ("with two points in a number", DATA + "x: 1.2.3\n", 4),
        ("with an equals sign", DATA + "x = 3\n", 4), ("with a string of 9 MB", DATA + '"' + "x" * 9_000_000 + '"\n', 4),
        ("with an open string of 9 MB", DATA + 'x: "' + "x" * 9_000_000, 4), ("with 9 MB of quotes", DATA + "x: " + '"' * 9_000_000, None),
        ("with 9 MB of spaces and a mark", " " * 9_000_000 + "?", 1), ("with 9 MB of backslashes", DATA + 'x: "' + "\\" * 9_000_001 + '"', 4),
    ):  # fmt: skip
        yield net(what, text, line=line)


def wrong_fields() -> Iterator[Case]:
    """Layers that Caffe would not take."""
    for value in (
        "0",
        "-1",
        "1000000000000000000",
        "1.5",
        "true",
        '"4"',
        "{ }",
        "many",
        "-0x10",
        "9" * 30,
        "inf",
        "nan",
    ):
        code: int | tuple[int, ...] = (0, 2) if value == "1000000000000000000" or value == "9" * 30 else 2
        yield net(
            f"of num_output {value}",
            layer("Convolution", f"convolution_param {{ num_output: {value} kernel_size: 3 }}"),
            code,
        )
        yield net(
            f"of an inner product of num_output {value}",
            layer("InnerProduct", f"inner_product_param {{ num_output: {value} }}"),
            code,
        )
    for field in (
        "kernel_size: 0", "kernel_size: -3", "kernel_size: 99", "kernel_size: 3 stride: 0", "kernel_size: 3 pad: -1", "kernel_size: 3 group: 0",
        "kernel_size: 3 group: 3", "kernel_size: 3 dilation: 0", "kernel_size: 3 dilation: 1000000000", "kernel_h: 3", "kernel_size: [3, 3, 3]",
        "kernel_size: 1.5", 'kernel_size: "3"', "kernel_size: { }", "", "kernel_size: 3 bias_term: maybe", "kernel_size: 3 axis: 9",
    ):  # fmt: skip
        yield net(
            f"of a convolution of {field or 'nothing'}",
            layer("Convolution", f"convolution_param {{ num_output: 4 {field} }}"),
        )
    for field in (
        "kernel_size: 0",
        "kernel_size: 99",
        "kernel_size: 2 stride: 0",
        "kernel_size: 2 pad: 9",
        "pool: MEDIAN kernel_size: 2",
        "",
        "pool: 7 kernel_size: 2",
    ):
        yield net(
            f"of a pool of {field or 'nothing'}",
            layer("Pooling", f"pooling_param {{ {field} }}"),
            (2,) if field else (0, 2),
        )
    for what, text in {
        "with an unknown bottom": layer("ReLU", bottom="dat"), "with a layer without a type": DATA + 'layer { name: "a" bottom: "data" }\n',
        "with a layer that is a number": DATA + "layer: 3\n", "with a layer that is a word": DATA + "layer: ReLU\n",
        "with a type that is a message": DATA + "layer { name: 'a' type { } bottom: 'data' top: 'a' }\n",
        "with a bottom that is a number": DATA + "layer { name: 'a' type: 'ReLU' bottom: 3 top: 'a' }\n",
        "with a name that is a list": DATA + "layer { name: [1, 2] type: 'ReLU' bottom: 'data' top: 'a' }\n",
        "with an eltwise of unlike maps": layer("Pooling", "pooling_param { kernel_size: 2 stride: 2 }") + LAYER.format(name="b", kind="Eltwise", bottom='data" bottom: "a', top="b", options=""),
        "with a concatenation of unlike maps": layer("Pooling", "pooling_param { kernel_size: 2 stride: 2 }") + LAYER.format(name="b", kind="Concat", bottom='data" bottom: "a', top="b", options=""),
        "with a concatenation along axis 99": layer("Concat", "concat_param { axis: 99 }"), "with a reshape to nothing": layer("Reshape", "reshape_param { shape { dim: 0 dim: 7 } }"),
        "with a reshape of two unknown sizes": layer("Reshape", "reshape_param { shape { dim: -1 dim: -1 } }"), "with a slice at 99": layer("Slice", "slice_param { slice_point: 99 }"),
        "with a crop of nothing": layer("Crop"), "with a phase that is unknown": layer("ReLU", "include { phase: NEVER }"),
        "with a permutation of one axis twice": layer("Permute", "permute_param { order: 0 order: 0 }"),
        "with a layer that reads itself": layer("ReLU", bottom="a"), "with a later bottom": layer("ReLU", bottom="b") + LAYER.format(name="b", kind="ReLU", bottom="data", top="b", options=""),
        "of zero rows": GOOD.replace("dim: 8 dim: 8", "dim: 0 dim: 8"), "of negative rows": GOOD.replace("dim: 8 dim: 8", "dim: -8 dim: 8"), "of 10^12 rows": GOOD.replace("dim: 8 dim: 8", "dim: 1000000000000 dim: 8"),
        "of one dimension": GOOD.replace("dim: 1 dim: 3 dim: 8 dim: 8", "dim: 1"), "of rows as words": GOOD.replace("dim: 8 dim: 8", "dim: eight dim: 8"),
        "of halves of rows": GOOD.replace("dim: 8 dim: 8", "dim: 8.5 dim: 8"), "of an input without a shape": GOOD.replace("input_shape { dim: 1 dim: 3 dim: 8 dim: 8 }", ""),
    }.items():  # fmt: skip
        yield net(what, text, (2,) if "phase" not in what else (0, 2))
    for what, text in {
        "with an unknown type": layer("Magic"), "with a type of escape sequences": layer("\x1b[31mRed"), "with a name of escape sequences": layer("ReLU", name="\x1b[2J"),
        "with a name of 1 MB": layer("ReLU", name="n" * 1_000_000), "with two layers of one name": layer("ReLU") + LAYER.format(name="a", kind="ReLU", bottom="a", top="b", options=""),
        "with a name of slashes": layer("ReLU", name="////"), "with an empty name": layer("ReLU", name=""), "with a top of a megabyte": layer("ReLU", top="t" * 1_000_000),
        "with a normalisation of size 0": layer("LRN", "lrn_param { local_size: 0 }"), "with a dropout of ratio 9": layer("Dropout", "dropout_param { dropout_ratio: 9 }"),
        "with an interpolation to 10^9": layer("Interp", "interp_param { height: 1000000000 width: 1000000000 }"), "with an upsampling of 10^9": layer("Upsample", "upsample_param { scale: 1000000000 }"),
        "with a tile of 10^18": layer("Tile", "tile_param { tiles: 1000000000000000000 }"), "with a batch norm of epsilon -1": layer("BatchNorm", "batch_norm_param { eps: -1 }"),
    }.items():  # fmt: skip
        yield net(what, text, (0, 2))
        yield net(what, text, (0, 2), verb="critique")
    yield net("that is good", GOOD, options=" --classes 3")
    yield net("that is good", GOOD, options=" --input 3x1x1")
    yield net("that is good but for its end", GOOD.rstrip()[:-1])
    yield net("in the line ends of Windows", GOOD.replace("\n", "\r\n"), 0)
    yield net("with a byte order mark", "\ufeff" + GOOD, 0)


def wrong_layers() -> Iterator[Case]:
    """Types with rules, and options that none knows, or that ask for much."""
    for what, text in {
        "with a type that no rule knows before another": layer("Magic") + LAYER.format(name="b", kind="ReLU", bottom="a", top="b", options=""),
        "with a pyramid of 10^9 levels": layer("SPP", "spp_param { pyramid_height: 1000000000 }"), "with a pyramid of no level": layer("SPP"),
        "with a tile of no axis": layer("Tile", "tile_param { axis: 9 tiles: 2 }"), "with no tiles": layer("Tile", "tile_param { tiles: 0 }"),
        "with a reduction of an unknown kind": layer("Reduction", "reduction_param { operation: MEDIAN }"), "with words of no table": layer("Embed", "embed_param { num_output: 4 }"),
        "with a table of 10^18 words": layer("Embed", "embed_param { num_output: 4 input_dim: 1000000000000000000 }"), "with a recurrent layer of an image": layer("LSTM", "recurrent_param { num_output: 4 }"),
        "with regions of no size": layer("ROIPooling", bottom='data" bottom: "data'), "with regions of 10^13 pixels": layer("ROIPooling", "roi_pooling_param { pooled_h: 10000000 pooled_w: 1000000 }", 'data" bottom: "data'),
        "with a layer in Python": layer("Python", "python_param { module: 'os' layer: 'system' }"), "with priors of no size": layer("PriorBox"), "with priors of an endless ratio": layer("PriorBox", "prior_box_param { min_size: 1 aspect_ratio: inf }"),
        "with detections of nothing": layer("DetectionOutput", "detection_output_param { num_classes: 2 }"), "with a mask that no pool made": layer("Upsample", "upsample_param { scale: 0 }", 'data" bottom: "data'),
        "with an interpolation to nothing": layer("Interp"), "with a parameter without a shape": DATA + "layer { name: 'p' type: 'Parameter' top: 'p' }\n" + LAYER.format(name="b", kind="Bias", bottom='data" bottom: "p', top="b", options=""),
        "with a gate of unlike size": layer("Axpy", bottom='data" bottom: "data" bottom: "data'), "with factors that are too few": layer("Eltwise", "eltwise_param { coeff: 1 }", 'data" bottom: "data'),
        "with the largest of too few": layer("ArgMax", "argmax_param { axis: 1 top_k: 9 }"), "with a logarithm to base 0": layer("Log", "log_param { base: 0 }"),
        "with a stride that does not divide": layer("Reorg", "reorg_param { stride: 3 }"), "with a within-channel norm of size 2": layer("LRN", "lrn_param { norm_region: WITHIN_CHANNEL local_size: 2 }"),
        "with a number in base 8 of digits beyond": DATA + "x: 089\n", "with a list that ends in a comma": DATA + "x: [1, 2,]\n", "with a boolean of 2": layer("Pooling", "pooling_param { global_pooling: 2 }"),
    }.items():  # fmt: skip
        yield net(what, text, line=4)
    yield net("that is good but proposes no regions", GOOD, options=" --regions 5")


def large() -> Iterator[Case]:
    """Many of something."""
    yield net("nested 100,000 deep", "a { " * 100_000 + "}" * 100_000)
    yield net("nested 1,000 deep", "a { " * 1_000 + "}" * 1_000)
    yield net("of a million fields", DATA + "x: 1\n" * 1_000_000)
    yield net("of a million inputs", 'input: "a"\n' * 800_000)
    yield net("of 11 MB", lambda path: path.write_text(GOOD + "#" * 11_000_000))
    yield net("of 9 MB of comments", GOOD + "# x\n" * 2_250_000, (0, 2))
    yield net(
        "of 100,000 layers",
        DATA
        + "".join(
            LAYER.format(name=f"r{i}", kind="ReLU", bottom="data", top="data", options="") for i in range(100_000)
        ),
    )
    for verb, options in (
        ("show", ""),
        ("critique", ""),
        ("fit", " --memory 1GiB"),
        ("compare", ""),
        ("roofline", " --device h100-sxm"),
    ):
        text = DATA + "".join(
            LAYER.format(name=f"r{i}", kind="ReLU", bottom="data", top="data", options="") for i in range(10_000)
        )
        yield net("of 10,000 layers", text, (0, 2), verb=verb, options=options)
    bottoms = '" bottom: "'.join(["data"] * 100_000)
    yield net(
        "with a layer of 100,000 bottoms",
        DATA + LAYER.format(name="a", kind="Concat", bottom=bottoms, top="a", options=""),
        (0, 2),
    )
    tops = '" top: "'.join(f"t{i}" for i in range(100_000))
    yield net(
        "with a layer of 100,000 tops",
        DATA + LAYER.format(name="a", kind="Split", bottom="data", top=tops, options=""),
        (0, 2),
    )
    doubled = DATA + "".join(
        LAYER.format(name=f"c{i}", kind="Concat", bottom='data" bottom: "data', top="data", options="")
        for i in range(200)
    )
    yield net("that doubles its channels 200 times", doubled, (0, 2))
