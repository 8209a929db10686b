"""The ImageNet table whose last three columns the lecturer left empty: whose accuracy it prints, and what it lacks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from cnnatomy.analysis.conventions import conventions
from compute.accounts import counted
from compute.cells import Claim, Table, Way

FLOAT = 4  # bytes


class Printed(NamedTuple):
    """A row: the network that it means, and who published its accuracy."""

    network: str
    top1: float
    top5: float
    source: str


_BVLC = "BVLC/caffe, models/{}/readme.md"
_TORCHVISION = "torchvision's documentation of 2018, docs/source/models.rst: 100 - {} and 100 - {}"
_TF = "tensorflow/models, research/slim/nets/{}"
ROWS = (
    Printed("alexnet", 57.1, 80.2, _BVLC.format("bvlc_alexnet")),
    Printed("caffenet", 57.4, 80.4, _BVLC.format("bvlc_reference_caffenet")),
    Printed("vgg-16", 71.59, 90.38, _TORCHVISION.format(28.41, 9.62)),
    Printed("vgg-19", 72.7, 91.0, "Keras of 2018, docs/templates/applications.md: 0.727 and 0.910"),
    Printed("resnet-50", 76.15, 92.862, _TORCHVISION.format(23.85, 7.13) + "; 92.862 in the metadata of its weights"),
    Printed("resnet-101", 77.37, 93.56, _TORCHVISION.format(22.63, 6.44)),
    Printed("resnet-152", 78.31, 94.06, _TORCHVISION.format(21.69, 5.94)),
    Printed("resnext-50-32x4d", 77.8, 93.698, "facebookresearch/ResNeXt, README: 100 - 22.2; top 5: torchvision"),
    Printed("resnext-101-32x4d", 78.8, 94.4, "facebookresearch/ResNeXt, README: 100 - 21.2; top 5: Cadene's README"),
    Printed("densenet-121", 74.91, 92.19, "shicai/DenseNet-Caffe, README"),
    Printed("googlenet", 68.7, 88.9, _BVLC.format("bvlc_googlenet")),
    Printed(
        "inception-v4", 80.0, 95.0, "Szegedy et al. 2016, table 2, single crop: 100 - 20.0 and 100 - 5.0 (recalled)"
    ),
    Printed("mobilenet-v1-1.0", 70.9, 89.9, _TF.format("mobilenet_v1.md")),
    Printed("mobilenet-v2", 71.8, 91.0, _TF.format("mobilenet/README.md")),
)
NOT_FOUND = {("alexnet", 1), ("alexnet", 5), ("caffenet", 1), ("caffenet", 5), ("resnext-50-32x4d", 5)} | {
    ("resnext-101-32x4d", 5)
}


def _imagenet() -> Iterator[Claim]:
    for number, row in enumerate(ROWS):
        for column, got, place in (("Top 1", row.top1, 1), ("Top 5", row.top5, 5)):
            erratum = "E56" if (row.network, place) in NOT_FOUND else ""
            yield Claim(number, column, [Way(got, "published: " + row.source)], erratum)


IMAGENET = Table(
    "imagenet",
    "Accuracy on ImageNet, with its empty columns filled in",
    "Accuracies are measured, not counted: a cell holds by convention if a publication is found that prints it. "
    "The lecturer left Param Mem, Feature Mem and MACs empty.",
    _imagenet,
    labels=("Network",),
    errata=("E56",),
)


def filled() -> str:
    """The table with its empty columns filled in, as Markdown."""
    lines = [
        "| Network | Top 1 | Top 5 | Param Mem (MiB) | Feature Mem (MiB) | MACs | counted as |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for line, row in zip(IMAGENET.printed["rows"], ROWS, strict=True):
        account = counted(row.network)
        maps = conventions(account)["feature_map_elements"]["ReLU in place"]
        memory = f"{_mebibytes(account.totals.parameters)} | {_mebibytes(maps)} | {account.totals.macs:,}"
        lines.append(f"| {line[0]} | {line[1]} | {line[2]} | {memory} | `{row.network}` |")
    return "\n".join(lines)


def feature_memory() -> str:
    """Feature memory under every convention, as Markdown."""
    names = list(conventions(counted("alexnet"))["feature_map_elements"])
    lines = ["| Network | input | " + " | ".join(names) + " |", "| --- | --- |" + " ---: |" * len(names)]
    for row in ROWS:
        account = counted(row.network)
        maps = conventions(account)["feature_map_elements"]
        cells = " | ".join(_mebibytes(maps[name]) for name in names)
        lines.append(f"| `{row.network}` | {'x'.join(map(str, account.input))} | {cells} |")
    return "\n".join(lines)


def sources() -> str:
    """Whose figure each accuracy is, as Markdown."""
    lines = ["| Network | Top 1 | Top 5 | published by |", "| --- | ---: | ---: | --- |"]
    for line, row in zip(IMAGENET.printed["rows"], ROWS, strict=True):
        lines.append(f"| {line[0]} | {row.top1:.2f} | {row.top5:.2f} | {row.source} |")
    return "\n".join(lines)


def _mebibytes(numbers: int) -> str:
    return f"{numbers * FLOAT / 2**20:,.1f}"


TABLES = (IMAGENET,)
