"""Tables of parallel and dense networks: GoogLeNet, Inception V2, SqueezeNet, DenseNet."""

from __future__ import annotations

from collections.abc import Iterator

from cnnatomy.analysis import Account, Row
from cnnatomy.catalogue.parallel.googlenet import googlenet
from cnnatomy.catalogue.parallel.inception_v3 import InceptionV2TableTail
from cnnatomy.design.graph import Scope
from cnnatomy.layers import Conv
from compute.accounts import brackets, counted, depth, kernel, of, output, pixels, products, rows, size, stride, totals
from compute.cells import PRINTED, Claim, Table, Way, also_truncated

# --- GoogLeNet --------------------------------------------------------------------------------------------------------

SEPARABLE = "separable first convolution (E23)"
WEIGHTS = "weights only"
MODULES = ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")
GOOGLENET_ROWS: dict[int, tuple[str, ...]] = {
    0: ("tail.conv1",),
    1: ("tail.pool1",),
    2: ("tail.conv2", "tail.conv3"),
    3: ("tail.pool2",),
    6: ("body.pool3",),
    12: ("body.pool4",),
    15: ("head.pool",),
    16: ("head.dropout",),
    17: ("head.fc",),
    **{row: (f"body.inception{name}",) for row, name in zip((4, 5, 7, 8, 9, 10, 11, 13, 14), MODULES, strict=True)},
}
WRONG_PARAMETERS = {"4a", "4b", "4c", "4d", "4e", "5a", "5b"}
INCEPTION_COLUMNS = ("#1x1", "#3x3 reduce", "#3x3", "#5x5 reduce", "#5x5", "pool proj")


def separable_stem() -> Account:
    """GoogLeNet with biases and a separable first convolution."""
    return of(googlenet(separable=True), (3, 224, 224))


def _googlenet() -> Iterator[Claim]:
    account, separable = counted("googlenet"), totals(separable_stem(), "tail.conv1", "tail.conv2")
    for number, paths in GOOGLENET_ROWS.items():
        part, sums = rows(account, *paths), totals(account, *paths)
        yield Claim(number, "output size", [Way(size(part[-1].output))])
        yield Claim(number, "depth", [Way(depth(part))])
        if not paths[0].startswith(("body.inception", "head.dropout", "head.fc")):
            yield Claim(number, "patch size / stride", [Way(f"{kernel(part[-1])} / {stride(part[-1])}")])
        if not sums.parameters:
            continue
        module = paths[0].removeprefix("body.inception")
        ways, weights = [Way(sums.parameters), Way(sums.parameters, kilo=1024)], Way(sums.weights, WEIGHTS, kilo=1024)
        operations = [Way(sums.macs)]
        if number == 0:
            ways.append(Way(separable.parameters, SEPARABLE, kilo=1024))
            weights = Way(separable.weights, f"{SEPARABLE}, {WEIGHTS}")
            operations.append(Way(separable.macs, SEPARABLE))
        explanation = "E24" if module in WRONG_PARAMETERS else ""
        yield Claim(number, "params", (*also_truncated(*ways), weights), explanation)
        yield Claim(number, "ops", also_truncated(*operations), "E24" if module == "5a" else "")
        channels = [row.output[0] for row in products(part)]
        columns = INCEPTION_COLUMNS if "inception" in paths[0] else ("#3x3 reduce", "#3x3") if number == 2 else ()
        for column, got in zip(columns, channels, strict=False):
            yield Claim(number, column, [Way(got)])
    yield Claim(18, "output size", [Way(size(account.graph.outputs[0].shape))])
    yield Claim(18, "depth", [Way(0)])


GOOGLENET = Table(
    "googlenet",
    "GoogLeNet",
    "Counted with `googlenet`; the first row describes a separable convolution. With biases and K = 1024, 2.7K "
    "is 2,800 / 1024, and 112K, 159K, 380K and 1000K come out, too; weights alone would need K = 1000 in the "
    "first row (2,712) and K = 1024 in the others, and give 379K for 380K. Seven rows follow from no convention "
    "(E24): 5a is printed as if it read 928 channels rather than 832.",
    _googlenet,
    labels=("type",),
    errata=("E23", "E24", "E25", "E26", "E27"),
)

INCEPTION_ROWS = {"Inception": None, "3x3 Conv": 3, "5x5 Conv": 5}


def _inception_cost() -> Iterator[Claim]:
    account = counted("googlenet")
    module = totals(account, "body.inception3a")
    before, after = rows(account, "body.inception3a")[0].inputs[0], output(account, "body.inception3a")
    for number, window in enumerate(INCEPTION_ROWS.values()):
        sums = of(Conv(after[0], window, padding=window // 2), before).totals if window else module
        ways = also_truncated(Way(sums.parameters), Way(sums.weights, WEIGHTS))
        yield Claim(number, "#parameters", ways)
        yield Claim(number, "FLOPS", also_truncated(Way(sums.macs)))


INCEPTION_COST = Table(
    "inception_cost",
    "An inception block beside single convolutions",
    "GoogLeNet's module 3a, and one convolution that reads and writes as many channels: 192 and 256 of 28 x 28 "
    "pixels. FLOPS stands for MACs.",
    _inception_cost,
    labels=("block",),
)

# --- Inception V2 -----------------------------------------------------------------------------------------------------

MODULE_ROWS = {7: "InceptionA", 8: "InceptionB", 9: "InceptionC"}  # figures 5, 6 and 7 of the paper
REDUCTIONS_TOO = "with the reduction before them (E28)"


def _inception_v2() -> Iterator[Claim]:
    tail, account = of(InceptionV2TableTail(), (3, 299, 299)), counted("inception-v3")
    layers = [row for row in tail if row.weights or "pool" in row.path]
    for number, row in enumerate(layers):
        yield Claim(number, "input size", [Way(size(row.inputs[0]))])
        yield Claim(number, "patch size/stride or remarks", [Way(f"{kernel(row)} / {stride(row)}")])
    yield Claim(7, "input size", [Way(size(layers[-1].output))])
    modules = _modules(account)
    for number, block in MODULE_ROWS.items():
        count = sum(kind == block for kind, _ in modules)
        ways = [Way(f"{count}xInception"), Way(f"{count + 1}xInception", REDUCTIONS_TOO)]
        yield Claim(number, "type", ways)
        if number > 7:
            first = next(part for kind, part in modules if kind == block)
            yield Claim(number, "input size", [Way(size(first.inputs[0].shape))])
    pool, classifier = rows(account, "head.pool")[0], rows(account, "head.fc")[0]
    yield Claim(10, "patch size/stride or remarks", [Way(pixels(pool.inputs[0]))])
    for number, shape in ((10, pool.inputs[0]), (11, classifier.inputs[0]), (12, classifier.output)):
        yield Claim(number, "input size", [Way(size(shape))])


def _modules(account: Account) -> list[tuple[str, Scope]]:
    """The blocks of the body, by the name of their class."""
    body = next(part for part in account.graph.root.children if isinstance(part, Scope) and part.path == "body")
    return [(type(part.block).__name__, part) for part in body.children if isinstance(part, Scope)]


INCEPTION_V2 = Table(
    "inception_v2",
    "Inception V2 and V3",
    "Counted with the tail as printed (`InceptionV2TableTail`), and from the modules on with `inception-v3`, "
    "which is what is used in public: its tail and the place of its reductions differ from the table (E28).",
    _inception_v2,
    labels=("type",),
    words=("As in figure 5", "As in figure 6", "As in figure 7", "logits", "classifier"),
    errata=("E14", "E28", "E29", "E30"),
)

# --- SqueezeNet -------------------------------------------------------------------------------------------------------

SQUEEZENET_PATHS = {
    "conv1": "tail.conv1",
    "maxpool1": "tail.pool1",
    **{f"fire{n}": f"body.fire{n}" for n in range(2, 10)},
    "maxpool4": "body.pool4",
    "maxpool8": "body.pool8",
    "conv10": "head.conv10",
    "avgpool10": "head.pool10",
}
DENSITIES = ("S_1x1 sparsity", "e_1x1 sparsity", "e_3x3 sparsity")
EXPANDS = ("S_1x1 (#1x1 squeeze)", "e_1x1 (#1x1 expand)", "e_3x3 (#3x3 expand)")
BEFORE, AFTER = "#parameter before pruning", "#parameter after pruning"


def pruned(part: list[Row], densities: list[int]) -> int:
    """What is left of some layers at these densities in percent: biases are kept, fractions of a weight rounded up."""
    return sum(
        -(-row.weights * percent // 100) + row.parameters - row.weights
        for row, percent in zip(part, densities, strict=True)
    )


def _squeezenet() -> Iterator[Claim]:
    account, table = counted("squeezenet-1.0"), PRINTED["tables"]["squeezenet"]
    yield Claim(0, "output size", [Way(size(account.input, "x"))], erratum="E32")
    kept = 0
    for number, line in enumerate(table["rows"]):
        path = SQUEEZENET_PATHS.get(line[0])
        if path is None:
            continue
        cell = dict(zip(table["columns"], line, strict=True))
        part = rows(account, path)
        yield Claim(number, "output size", [Way(size(part[-1].output, "x"))], "E33" if line[0] == "maxpool8" else "")
        yield Claim(number, "depth", [Way(depth(part))])
        weighted = products(part)
        if not line[0].startswith("fire"):
            times = f" (x{part[0].output[0]})" if weighted else ""
            text = f"{kernel(part[0], 'x')}/{stride(part[0])}{times}"
            yield Claim(number, "filter size / stride (if not a fire layer)", [Way(text)])
        if not weighted:
            continue
        densities = [int(cell[column].split("%")[0]) for column in DENSITIES if cell[column]]
        left = pruned(weighted, densities)
        kept += left
        yield Claim(number, BEFORE, [Way(totals(account, path).parameters)])
        yield Claim(number, AFTER, [Way(left)], "E34" if line[0] == "fire8" else "")
        for column, row in zip(EXPANDS, weighted if len(weighted) == 3 else [], strict=False):
            yield Claim(number, column, [Way(row.output[0])])
    printed = [int(line[-1].replace(",", "")) for line in table["rows"][:-1] if line[-1] not in ("", "-")]
    last = len(table["rows"]) - 1
    yield Claim(last, BEFORE, [Way(account.totals.parameters)])
    yield Claim(last, AFTER, [Way(kept), Way(sum(printed), "the sum of the printed rows, with E34")])


SQUEEZENET = Table(
    "squeezenet",
    "SqueezeNet",
    "Counted with `squeezenet-1.0` on 227 pixels. What pruning leaves follows from the densities that are "
    "printed: of each convolution the share of weights, rounded up, and all biases.",
    _squeezenet,
    labels=("layer name/type", *DENSITIES, "# bits"),
    errata=("E32", "E33", "E34", "E35"),
)

# --- DenseNet ---------------------------------------------------------------------------------------------------------

DENSENETS = {f"DenseNet-{depth}": f"densenet-{depth}" for depth in (121, 169, 201, 264)}
DENSE_BLOCKS = {2: "body.dense1", 5: "body.dense2", 8: "body.dense3", 11: "body.dense4"}
SHARED = "DenseNet-169"  # where what all columns share is printed


def _densenet() -> Iterator[Claim]:
    for column, name in DENSENETS.items():
        for number, path in DENSE_BLOCKS.items():
            yield Claim(number, column, [Way(brackets(counted(name), path, "{kernel} conv"))])
    account = counted("densenet-121")
    for number, path in DENSE_BLOCKS.items():
        yield Claim(number, "Output Size", [Way(pixels(output(account, path)))])
    for number, path in ((0, "tail.conv"), (1, "tail.pool")):
        row = rows(account, path)[0]
        what = "conv" if row.weights else "max pool"
        yield Claim(number, "Output Size", [Way(pixels(row.output))])
        yield Claim(number, SHARED, [Way(f"{kernel(row)} {what}, stride {stride(row)}")])
    for number, path in ((3, "body.transition1"), (6, "body.transition2"), (9, "body.transition3")):
        for i, part in enumerate(("conv", "pool")):
            row = rows(account, f"{path}.{part}")[0]
            text = f"{kernel(row)} conv" if row.weights else f"{kernel(row)} average pool, stride {stride(row)}"
            yield Claim(number + i, "Output Size", [Way(pixels(row.output))])
            yield Claim(number + i, SHARED, [Way(text)])
    pool = rows(account, "head.classifier.pool")[0]
    yield Claim(12, "Output Size", [Way(pixels(pool.output))])
    yield Claim(12, SHARED, [Way(f"{kernel(pool)} global average pool")])
    classes = account.graph.outputs[0].shape[0]
    yield Claim(13, SHARED, [Way(f"{classes}D fully-connected, softmax")])


DENSENET = Table(
    "densenet",
    "DenseNet",
    "Counted with `densenet-121`, `169`, `201` and `264`. The table leaves out growth 32, bottlenecks of 128 "
    "channels, and that a transition halves the channels (E37).",
    _densenet,
    labels=("Layers",),
    errata=("E37",),
)

TABLES = (GOOGLENET, INCEPTION_COST, INCEPTION_V2, SQUEEZENET, DENSENET)
