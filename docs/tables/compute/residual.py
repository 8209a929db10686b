"""Tables of residual networks: ResNet, ResNeXt, MobileNet V2, ShuffleNet, ShiftNet, DPN, SENet."""

from __future__ import annotations

from collections.abc import Iterator

from cnnatomy.analysis import Account
from cnnatomy.layers import Concat, DepthwiseConv, Shift
from compute.accounts import brackets, counted, kernel, output, pixels, products, rows, stages, stride
from compute.cells import Claim, Table, Way, also_truncated

FORM = "{kernel}, {channels}"
STAGES = {2: "body.stage1", 3: "body.stage2", 4: "body.stage3", 5: "body.stage4"}
SIZES = {0: "tail.conv", **STAGES, 6: "head.pool"}


def _frame(account: Account, column: str, head: str) -> Iterator[Claim]:
    """What a column prints before and after its stages: first convolution, pool, head."""
    convolution, pool = rows(account, "tail.conv", "tail.pool")
    channels, classes = convolution.output[0], account.graph.outputs[0].shape[0]
    yield Claim(0, column, [Way(f"{kernel(convolution)}, {channels}, stride {stride(convolution)}")])
    yield Claim(1, column, [Way(f"{kernel(pool)} max pool, stride {stride(pool)}")])
    yield Claim(6, column, [Way(head.format(classes=classes))])


def _sizes(account: Account, column: str, paths: dict[int, str]) -> Iterator[Claim]:
    """The rows and columns that leave some parts."""
    for number, path in paths.items():
        yield Claim(number, column, [Way(pixels(output(account, path)))])


# --- ResNet -----------------------------------------------------------------------------------------------------------

OPTION_A = "zero-padded shortcuts, option A (E38)"
FIRST_STRIDES = "stride in the first 1x1 convolution, as published (E38)"
RESNETS = {f"{depth}-layer": f"resnet-{depth}" for depth in (18, 34, 50, 101, 152)}


def _resnet() -> Iterator[Claim]:
    account = counted("resnet-50")
    yield from _frame(account, "50-layer", "average pool, {classes}-d fc, softmax")
    yield from _sizes(account, "output size", SIZES)
    for column, name in RESNETS.items():
        for number, path in STAGES.items():
            yield Claim(number, column, [Way(brackets(counted(name), path, FORM))])
        published, convention = ("v1", FIRST_STRIDES) if counted(name).depth >= 50 else ("option-a", OPTION_A)
        macs = counted(f"{name}-{published}").totals.macs
        yield Claim(7, column, also_truncated(Way(counted(name).totals.macs), Way(macs, convention)))


RESNET = Table(
    "resnet",
    "ResNet",
    "Counted with `resnet-18` to `resnet-152`, whose stride is in the 3x3 convolution and whose shortcuts are "
    "projections where the shape changes. The row FLOPs counts MACs of the networks as published: "
    "`resnet-18-option-a`, `resnet-34-option-a`, and `resnet-50-v1`, `101` and `152`.",
    _resnet,
    labels=("layer name",),
    errata=("E38", "E39", "E41", "E52"),
)

# --- ResNeXt ----------------------------------------------------------------------------------------------------------

WEIGHTS = "weights only (E39)"
RESNEXTS = {"ResNet-50": "resnet-50", "ResNeXt-50 (32x4d)": "resnext-50-32x4d"}


def _resnext() -> Iterator[Claim]:
    for column, name in RESNEXTS.items():
        account = counted(name)
        yield from _frame(account, column, "global average pool {classes}-d fc, softmax")
        for number, path in STAGES.items():
            yield Claim(number, column, [Way(brackets(account, path, FORM, groups="C"))])
        yield Claim(7, column, [Way(account.totals.parameters), Way(account.totals.weights, WEIGHTS)])
        yield Claim(8, column, [Way(account.totals.macs)])
    yield from _sizes(counted("resnext-50-32x4d"), "output", SIZES)


RESNEXT = Table(
    "resnext",
    "ResNeXt-50 beside ResNet-50",
    "Counted with `resnet-50` and `resnext-50-32x4d`. This ResNet-50 strides in its 3x3 convolutions, unlike the "
    "one of ResNet's own table. FLOPs stands for MACs.",
    _resnext,
    labels=("stage",),
    errata=("E39",),
)

# --- MobileNet V2 -----------------------------------------------------------------------------------------------------


def _mobilenet_v2() -> Iterator[Claim]:
    account = counted("mobilenet-v2")
    first = rows(account, "tail.conv")[0]
    yield Claim(0, "Input", [Way(_square(first.inputs[0]))])
    for column, got in {"c": first.output[0], "n": 1, "s": stride(first)}.items():
        yield Claim(0, column, [Way(got)])
    for number in range(1, 8):
        blocks = stages(account, f"body.stage{number}")
        before, after = blocks[0][0].inputs[0], output(account, f"body.stage{number}")
        depthwise = next(row for row in blocks[0] if isinstance(row.node.layer, DepthwiseConv))
        expansion = depthwise.inputs[0][0] // before[0]
        yield Claim(number, "Input", [Way(_square(before))])
        for column, got in {"t": expansion, "c": after[0], "n": len(blocks), "s": stride(depthwise)}.items():
            yield Claim(number, column, [Way(got)])
    last, classifier = products(account)[-2:]
    pool = next(row for row in account if "pool" in row.path)
    yield Claim(8, "Input", [Way(_square(last.inputs[0]))])
    for column, got in {"c": last.output[0], "n": 1, "s": stride(last)}.items():
        yield Claim(8, column, [Way(got)])
    yield Claim(9, "Input", [Way(_square(pool.inputs[0]))])
    yield Claim(9, "n", [Way(1)])
    yield Claim(10, "Input", [Way(f"1 x 1 x {classifier.inputs[0][0]}")])


def _square(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}^2 x {shape[0]}"


MOBILENET_V2 = Table(
    "mobilenet_v2",
    "MobileNet V2",
    "Counted with `mobilenet-v2`: t is the expansion, c the channels, n the blocks, s the stride of the first. "
    "Kernels are not printed; a block with t = 1 has no expansion (E49).",
    _mobilenet_v2,
    labels=("Operator",),
    words=("k",),
    errata=("E49",),
)

# --- ShuffleNet -------------------------------------------------------------------------------------------------------

NO_CLASSIFIER = "without the last layer (E47)"
SHUFFLE_STAGES = {3: "body.stage2", 5: "body.stage3", 7: "body.stage4"}


def _shufflenet() -> Iterator[Claim]:
    for groups in (1, 2, 3, 4, 8):
        account, column = counted(f"shufflenet-g{groups}"), f"g = {groups}"
        first, pool = rows(account, "tail.conv")[0], rows(account, "tail.pool")[0]
        yield Claim(0, column, [Way(account.input[0])])
        yield Claim(1, column, [Way(first.output[0])])
        for number, path in SHUFFLE_STAGES.items():
            units = stages(account, path)
            for i, unit in enumerate(units[:2]):
                yield Claim(number + i, column, [Way(unit[-1].output[0])])
        classifier = products(account)[-1]
        yield Claim(10, column, [Way(classifier.output[0])])
        macs = account.totals.macs
        yield Claim(11, column, [Way(macs), Way(macs - classifier.macs, NO_CLASSIFIER)])
    yield Claim(0, "Output size", [Way(pixels(account.input))])
    for number, row in ((1, first), (2, pool)):
        yield Claim(number, "Output size", [Way(pixels(row.output))])
        yield Claim(number, "KSize", [Way(kernel(row))])
        yield Claim(number, "Stride", [Way(stride(row))])
    yield Claim(1, "Repeat", [Way(1)])
    for number, path in SHUFFLE_STAGES.items():
        units = stages(account, path)
        for i, part in enumerate((units[:1], units[1:])):
            depthwise = next(row for row in part[0] if isinstance(row.node.layer, DepthwiseConv))
            yield Claim(number + i, "Output size", [Way(pixels(depthwise.output))])
            yield Claim(number + i, "Stride", [Way(stride(depthwise))])
            yield Claim(number + i, "Repeat", [Way(len(part))])
    last = next(row for row in rows(account, "head") if "pool" in row.path)
    yield Claim(9, "Output size", [Way(pixels(last.output))])
    yield Claim(9, "KSize", [Way(kernel(last))])


SHUFFLENET = Table(
    "shufflenet",
    "ShuffleNet",
    "Counted with `shufflenet-g1`, `g2`, `g3`, `g4` and `g8`, whose first 1x1 convolution is not grouped. "
    "Complexity is in MACs.",
    _shufflenet,
    labels=("Layer",),
    errata=("E47",),
)

# --- ShiftNet ---------------------------------------------------------------------------------------------------------


def _shiftnet() -> Iterator[Claim]:
    account = counted("shiftnet-a")
    first = account.rows[0]
    yield Claim(0, "Kernel", [Way(kernel(first))])
    yield Claim(0, "Output Channel", [Way(first.output[0])])
    yield Claim(0, "Repeat", [Way(1)])
    for group in range(1, 5):
        modules = stages(account, f"body.group{group}")
        for i, part in enumerate((modules[:1], modules[1:])):
            number = 2 * group - 1 + i
            shift = next(row for row in part[0] if isinstance(row.node.layer, Shift))
            made = products(part[0])[-1].output[0]
            yield Claim(number, "Kernel", [Way(kernel(shift))])
            yield Claim(number, "ℰ", [Way(shift.output[0] // made)])
            yield Claim(number, "Repeat", [Way(len(part))])
        joined = next(row for row in modules[0] if isinstance(row.node.layer, Concat))
        yield Claim(2 * group - 1, "Output Channel", [Way(joined.output[0])])
    classifier = products(account)[-1]
    pool = next(row for row in rows(account, "head") if "pool" in row.path)
    yield Claim(9, "Kernel", [Way(pixels(pool.inputs[0]))])
    yield Claim(9, "Output Channel", [Way(pool.output[0])])
    yield Claim(10, "Output Channel", [Way(classifier.output[0])])
    for number in (9, 10):
        yield Claim(number, "Repeat", [Way(1)])


SHIFTNET = Table(
    "shiftnet",
    "ShiftNet-A",
    "Counted with `shiftnet-a`. ℰ is the expansion of what a module makes itself; with stride 2 it makes only the "
    "channels that are new, and concatenates its pooled input, which the table does not say (E48).",
    _shiftnet,
    labels=("Group", "Type/ Stride"),
    errata=("E48",),
)

# --- DPN --------------------------------------------------------------------------------------------------------------

STATISTICS = "with statistics (E45)"
DPN_COLUMNS = {
    "DenseNet-161 (k=48)": ("densenet-161", "body.dense{}"),
    "ResNeXt-101 (32x4d)": ("resnext-101-32x4d", "body.stage{}"),
    "ResNeXt-101 (64x4d)": ("resnext-101-64x4d", "body.stage{}"),
    "DPN-92 (32x3d)": ("dpn-92", "body.conv{}"),
    "DPN-98 (40x4d)": ("dpn-98", "body.conv{}"),
}


def _dpn() -> Iterator[Claim]:
    for column, (name, path) in DPN_COLUMNS.items():
        account = counted(name)
        yield from _frame(account, column, "global average pool {classes}-d fc, softmax")
        first = 2 if name.startswith("dpn") else 1  # the paper's stages are called conv2 to conv5
        for number in range(4):
            text = brackets(account, path.format(first + number), FORM, groups="G")
            yield Claim(2 + number, column, [Way(text)])
        whole = account.totals
        with_statistics = whole.parameters + whole.buffers
        yield Claim(7, column, [Way(whole.parameters), Way(with_statistics, STATISTICS)])
        yield Claim(8, column, [Way(whole.macs)])
    yield from _sizes(counted("resnext-101-32x4d"), "output", SIZES)


DPN = Table(
    "dpn",
    "DPN beside DenseNet and ResNeXt",
    "Counted with `densenet-161`, `resnext-101-32x4d`, `resnext-101-64x4d`, `dpn-92` and `dpn-98`. (+16) is what "
    "each block concatenates; the projection of a stage makes twice as much (E46). FLOPs stands for MACs.",
    _dpn,
    labels=("stage",),
    errata=("E45", "E46"),
)

# --- SENet ------------------------------------------------------------------------------------------------------------

SENETS = {
    "ResNet-50": "resnet-50-v1",
    "SE-ResNet-50": "se-resnet-50",
    "SE-ResNeXt-50 ( 32 x 4d )": "se-resnext-50-32x4d",
}
SE_SIZES = {number: path for number, path in STAGES.items() if number > 2}  # 56 x 56 is printed beside the pool


def _senet() -> Iterator[Claim]:
    for column, name in SENETS.items():
        for number, path in STAGES.items():
            text = brackets(counted(name), path, "conv, " + FORM, groups="C")
            yield Claim(number, column, [Way(text)], erratum="E44" if "next" in name else "")
    account = counted("se-resnet-50")
    convolution, pool = rows(account, "tail.conv", "tail.pool")
    channels = convolution.output[0]
    yield Claim(0, "SE-ResNet-50", [Way(f"conv, {kernel(convolution)}, {channels}, stride {stride(convolution)}")])
    yield Claim(1, "SE-ResNet-50", [Way(f"max pool, {kernel(pool)}, stride {stride(pool)}")])
    yield Claim(6, "ResNet-50", [Way(f"global average pool, {account.graph.outputs[0].shape[0]}-d fc, softmax")])
    yield from _sizes(account, "Output size", {0: "tail.conv", 1: "tail.pool", **SE_SIZES, 6: "head.pool"})


SENET = Table(
    "senet",
    "SENet",
    "Counted with `resnet-50-v1`, `se-resnet-50` and `se-resnext-50-32x4d`.",
    _senet,
    errata=("E44",),
)

TABLES = (RESNET, RESNEXT, MOBILENET_V2, SHUFFLENET, SHIFTNET, DPN, SENET)
