"""Tables of chains: AlexNet, VGG, MobileNet V1, and AlexNet beside LeNet."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import groupby

from cnnatomy.analysis import Account, Row
from cnnatomy.catalogue.chain.alexnet import alexnet
from cnnatomy.design import Chain
from cnnatomy.layers import Conv, FullyConnected, LocalResponseNorm, MaxPool, Softmax
from cnnatomy.layers.layer import elements
from compute.accounts import counted, kernel, of, operations, output, pixels, products, rows, size, stride, totals
from compute.cells import Claim, Table, Way, also_truncated

# --- AlexNet, layer by layer -----------------------------------------------------------------------------------------

BIASES_EACH_PIXEL = "one bias for each output pixel (E01)"
ALL_OPERATIONS = "with the additions of biases, and an operation for each element or value under a window (E02)"
SQUARES = "a local response norm as F squares and F - 1 additions (E02)"
ONE_PIXEL = "as a 1x1 convolution of one pixel"


@cache
def table_alexnet() -> Account:
    """The network of the table: no groups, 224 pixels padded by 3 in total, and a softmax."""
    network = alexnet(groups=1, padding=(1, 2, 1, 2))
    return of(network.replace(head=Chain(network.head, softmax=Softmax())), (3, 224, 224))


def _alexnet() -> Iterator[Claim]:
    image = table_alexnet().input
    for column, got in {"B": 1, "Ni": image[0], "M": image[1], "Out Map": elements(image)}.items():
        yield Claim(0, column, [Way(got)])
    for column in ("P", "F", "S", "No", "MACs", "In Map", "Parameter"):
        yield Claim(0, column, [Way(0)])
    yield Claim(0, "All Mem", [Way(elements(image))])
    printed = [row for row in table_alexnet() if row.operations != (0,) * 6]  # all but dropout and flatten
    for number, row in enumerate(printed, start=1):
        yield from _alexnet_row(number, row)


def _alexnet_row(number: int, row: Row) -> Iterator[Claim]:
    layer, before, after = row.node.layer, row.inputs[0], row.output
    image = (*before, 1, 1)[:3]
    yield Claim(number, "B", [Way(1)])
    yield Claim(number, "Ni", [Way(image[0])])
    yield Claim(number, "M", [Way(image[1])])
    top, bottom, *_ = layer._sides(*image[1:]) if isinstance(layer, Conv) else (0, 0)
    yield Claim(number, "P", [Way(0), Way(top + bottom, "the padding of both sides together (E04)")])
    window = stride_ = 0
    if isinstance(layer, (Conv, MaxPool)):
        window, stride_ = int(kernel(row).split(" ")[0]), stride(row)
    elif isinstance(layer, LocalResponseNorm):
        window = layer.size
    one_pixel = [Way(1, ONE_PIXEL)] if isinstance(layer, FullyConnected) else []
    yield Claim(number, "F", [Way(window), *one_pixel])
    yield Claim(number, "S", [Way(stride_), *one_pixel])
    yield Claim(number, "No", [Way(after[0] if row.weights else 0)])

    parts, each_pixel = row.parameters, row.weights + (elements(after) if row.weights else 0)
    yield Claim(number, "MACs", [Way(row.macs), *_alexnet_operations(row)])
    yield Claim(number, "In Map", [Way(elements(before))])
    yield Claim(number, "Parameter", [Way(parts), Way(each_pixel, BIASES_EACH_PIXEL)])
    yield Claim(number, "Out Map", [Way(elements(after))])
    maps = elements(before) + elements(after)
    yield Claim(number, "All Mem", [Way(maps + parts), Way(maps + each_pixel, BIASES_EACH_PIXEL)])


def _alexnet_operations(row: Row) -> Iterator[Way]:
    if isinstance(row.node.layer, LocalResponseNorm):
        yield Way((2 * row.node.layer.size - 1) * elements(row.output), SQUARES)
    elif isinstance(row.node.layer, Softmax):
        yield Way(elements(row.output), ALL_OPERATIONS)
    else:
        yield Way(operations(totals(table_alexnet(), row.path)), ALL_OPERATIONS)


ALEXNET = Table(
    "alexnet",
    "AlexNet and CaffeNet, layer by layer",
    "Counted with `alexnet-ungrouped` on 224 pixels, padded by 1 before and 2 after, and a softmax after it: "
    "the table has no groups although the slide says that AlexNet has (E03), and so has CaffeNet (E05). Memory is "
    "in numbers, not bytes.",
    _alexnet,
    labels=("#", "Type"),
    errata=("E01", "E02", "E03", "E04", "E05"),
)

# --- VGG --------------------------------------------------------------------------------------------------------------

VGG_COLUMNS = {"A": "vgg-11", "A-LRN": "vgg-a-lrn", "B": "vgg-13", "C": "vgg-c", "D": "vgg-16", "E": "vgg-19"}
VGG_BLOCKS = {2: "tail", 4: "body.block2", 6: "body.block3", 8: "body.block4", 10: "body.block5"}
VGG_HEAD = {12: "head.fc6", 13: "head.fc7", 14: "head.fc8"}


def _vgg() -> Iterator[Claim]:
    for column, name in VGG_COLUMNS.items():
        account = counted(name)
        yield Claim(0, column, [Way(f"{account.depth} weight layers")])
        for row, block in VGG_BLOCKS.items():
            explanation = "E18" if (column, block) == ("D", "tail") else ""
            yield Claim(row, column, [Way(_vgg_block(rows(account, block)))], explanation)
    account = counted("vgg-11")  # what all columns share
    yield Claim(1, "A", [Way(f"input ({pixels(account.input)} RGB image)")])
    for row, block in VGG_BLOCKS.items():
        last = rows(account, block)[-1].node.layer
        yield Claim(row + 1, "A", [Way("maxpool" if isinstance(last, MaxPool) else "")])
    for row, layer in VGG_HEAD.items():
        yield Claim(row, "A", [Way(f"FC-{output(account, layer)[0]}")])


def _vgg_block(block: list[Row]) -> str:
    texts = []
    for row in block:
        if row.weights:
            texts.append(f"conv{kernel(row).split(' ')[0]}-{row.output[0]}")
        elif isinstance(row.node.layer, LocalResponseNorm):
            texts.append("LRN")
    return " ".join(texts)


VGG = Table(
    "vgg",
    "VGG, six configurations",
    "The blocks of `vgg-11`, `vgg-a-lrn`, `vgg-13`, `vgg-c`, `vgg-16` and `vgg-19`, read off their layers. The "
    "copy in lecture 001 lost a convolution of column D; read literally, it is `vgg-d-seed001-extraction`.",
    _vgg,
    words=("soft-max",),
    errata=("E18", "E20"),
)

# --- MobileNet V1 -----------------------------------------------------------------------------------------------------


def _mobilenet() -> Iterator[Claim]:
    account = counted("mobilenet-v1-1.0")
    lines = [[_mobilenet_line(row) for row in products(rows(account, "tail"))]]
    lines += [[_mobilenet_line(row) for row in products(rows(account, f"body.block{n}"))] for n in range(1, 14)]
    number = 0
    for block, alike in groupby(lines):
        times = len(list(alike))
        for i, (kind, shape, read) in enumerate(block):
            prefix = f"{times}x " if times > 1 else ""
            ways = [Way(prefix + kind)]
            if prefix and i:
                ways.append(Way(kind, "the 5x of the row above holds for this one, too (E22)"))
            yield Claim(number, "Type / Stride", ways, erratum="E21" if shape == "3 x 3 x 1024 dw" else "")
            yield Claim(number, "Filter Shape", [Way(shape)])
            yield Claim(number, "Input Size", [Way(read)])
            number += 1
    pool, classifier = rows(account, "head.pool")[0], rows(account, "head.fc")[0]
    yield Claim(number, "Filter Shape", [Way(f"Pool {pixels(pool.inputs[0])}")])
    yield Claim(number, "Input Size", [Way(size(pool.inputs[0]))])
    yield Claim(number + 1, "Filter Shape", [Way(f"{classifier.inputs[0][0]} x {classifier.output[0]}")])
    yield Claim(number + 1, "Input Size", [Way(size(classifier.inputs[0]))])
    yield Claim(number + 2, "Input Size", [Way(size(classifier.output))])


def _mobilenet_line(row: Row) -> tuple[str, str, str]:
    channels = row.inputs[0][0]
    if isinstance(row.node.layer, Conv):
        return f"Conv / s{stride(row)}", f"{kernel(row)} x {channels} x {row.output[0]}", size(row.inputs[0])
    return f"Conv dw / s{stride(row)}", f"{kernel(row)} x {channels} dw", size(row.inputs[0])


MOBILENET = Table(
    "mobilenet_v1",
    "MobileNet V1",
    "Counted with `mobilenet-v1-1.0`.",
    _mobilenet,
    words=("Avg Pool / s1", "FC / s1", "Softmax / s1", "Classifier"),
    errata=("E21", "E22"),
)

# --- AlexNet beside LeNet ---------------------------------------------------------------------------------------------

WEIGHTS = "weights only"
NO_CLASSIFIER = "without the last layer"
ALEXNET_PARTS: dict[str, tuple[str, ...]] = {
    "Conv1": ("tail.conv1",),
    "Conv2": ("body.conv2",),
    "Conv3-5": ("body.conv3", "body.conv4", "body.conv5"),
    "Dense1": ("head.fc6",),
    "Dense2": ("head.fc7",),
}
LENET_PARTS: dict[str, tuple[str, ...]] = {
    "Conv1": ("tail.c1",),
    "Conv2": ("body.c3",),
    "Dense1": ("head.c5",),
    "Dense2": ("head.f6",),
}


def _alexnet_lenet() -> Iterator[Claim]:
    numbers = {"Conv1": 0, "Conv2": 1, "Conv3-5": 2, "Dense1": 3, "Dense2": 4, "Total": 5}
    sums = {}
    for network, name, parts, last in (
        ("AlexNet", "alexnet-d2l", ALEXNET_PARTS, "head.fc8"),
        ("LeNet", "lenet-5", LENET_PARTS, "head.output"),
    ):
        account, left_out = counted(name), totals(counted(name), last)
        ten_times = "E07" if network == "LeNet" else ""
        parts = parts | {"Total": ("tail", "body", "head")}
        for part, paths in parts.items():
            got = totals(account, *paths)
            parameters, operations = [Way(got.parameters), Way(got.weights, WEIGHTS)], [Way(got.macs)]
            if part == "Total":
                sums[network] = (got.weights - left_out.weights, got.macs - left_out.macs)
                parameters[1] = Way(sums[network][0], f"{WEIGHTS}, {NO_CLASSIFIER}")
                operations.append(Way(sums[network][1], NO_CLASSIFIER))
            right = part.startswith("Conv")
            yield Claim(
                numbers[part], f"{network} #parameters", also_truncated(*parameters), "" if right else ten_times
            )
            yield Claim(numbers[part], f"{network} FLOP", also_truncated(*operations), ten_times)
    for i, column in enumerate(("#parameters", "FLOP")):
        ratio = sums["AlexNet"][i] / sums["LeNet"][i]
        yield Claim(6, f"AlexNet {column}", [Way(ratio)], "E07")
        yield Claim(6, f"LeNet {column}", [Way(1)])


ALEXNET_LENET = Table(
    "alexnet_lenet",
    "AlexNet beside LeNet",
    "AlexNet is `alexnet-d2l`: no groups, 224 pixels without padding (E08). LeNet is `lenet-5`; its operations "
    "and its dense layers are printed ten times too large (E07). FLOP stands for MAC.",
    _alexnet_lenet,
    labels=("layer",),
    errata=("E07", "E08"),
)

TABLES = (ALEXNET, VGG, MOBILENET, ALEXNET_LENET)
