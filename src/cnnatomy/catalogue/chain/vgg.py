"""VGG (Simonyan and Zisserman: Very deep convolutional networks for large-scale image recognition, 2014)."""

from __future__ import annotations

from typing import NamedTuple

from cnnatomy.catalogue.chain.alexnet import head
from cnnatomy.catalogue.entry import Entry
from cnnatomy.design import Chain, Network
from cnnatomy.layers import BatchNorm, Conv, Layer, LocalResponseNorm, MaxPool, ReLU

PAPER = "Simonyan and Zisserman 2014, Very deep convolutional networks for large-scale image recognition"


class VGGVariant(NamedTuple):
    """A column of table 1 of the paper: the kernels of the convolutions in each of the five blocks."""

    name: str
    kernels: tuple[tuple[int, ...], ...]
    normalise: bool = False  # local response norm after the first convolution
    aliases: tuple[str, ...] = ()


ONE, TWO, THREE, FOUR = (3,), (3, 3), (3, 3, 3), (3, 3, 3, 3)
COLUMNS = (
    VGGVariant("vgg-11", (ONE, ONE, TWO, TWO, TWO), aliases=("vgg-a",)),
    VGGVariant("vgg-a-lrn", (ONE, ONE, TWO, TWO, TWO), normalise=True, aliases=("vgg-11-lrn",)),
    VGGVariant("vgg-13", (TWO, TWO, TWO, TWO, TWO), aliases=("vgg-b",)),
    VGGVariant("vgg-c", (TWO, TWO, (3, 3, 1), (3, 3, 1), (3, 3, 1)), aliases=("vgg-16-c",)),
    VGGVariant("vgg-16", (TWO, TWO, THREE, THREE, THREE), aliases=("vgg-d",)),
    VGGVariant("vgg-19", (TWO, TWO, FOUR, FOUR, FOUR), aliases=("vgg-e",)),
)
MISPRINT = VGGVariant("vgg-d-seed001-extraction", (ONE, TWO, THREE, THREE, THREE))
"""Column D as one of the lectures prints it: without the second convolution of the first block."""

WIDTHS = (64, 128, 256, 512, 512)


def vgg(
    kernels: tuple[tuple[int, ...], ...], normalise: bool = False, batch_norm: bool = False, classes: int = 1000
) -> Network:
    """Blocks of 3x3 convolutions (1x1 where a column says so), each with ReLU, ended by a 2x2 max pool."""

    def block(number: int) -> Chain:
        layers: dict[str, Layer] = {}
        for i, kernel in enumerate(kernels[number - 1], start=1):
            layers[f"conv{number}_{i}"] = Conv(WIDTHS[number - 1], kernel, padding=kernel // 2)
            if batch_norm:
                layers[f"bn{number}_{i}"] = BatchNorm()
            layers[f"relu{number}_{i}"] = ReLU()
            if normalise and number == i == 1:
                layers["norm1"] = LocalResponseNorm()
        return Chain(**layers, **{f"pool{number}": MaxPool(2)})

    return Network(
        tail=block(1),
        body=Chain(**{f"block{number}": block(number) for number in (2, 3, 4, 5)}),
        head=head(classes),
    )


def _entry(column: VGGVariant) -> Entry:
    layers = sum(map(len, column.kernels)) + 3
    summary = f"{layers} weight layers" + (", local response norm after the first" if column.normalise else "")
    if column is MISPRINT:
        summary = "an erratum, for comparison: VGG-16 as a lecture misprints it, one convolution short"
    arguments = {"kernels": column.kernels, "normalise": column.normalise}
    return Entry(column.name, "chain", 2014, summary, PAPER, vgg, arguments, aliases=column.aliases)


def _with_batch_norm(column: VGGVariant) -> Entry:
    summary = "with batch norm after every convolution: torchvision's"
    arguments = {"kernels": column.kernels, "batch_norm": True}
    aliases = tuple(alias + "-bn" for alias in column.aliases)
    return Entry(column.name + "-bn", "chain", 2015, summary, PAPER, vgg, arguments, aliases=aliases)


BLOCKS = ()
ENTRIES = (
    *map(_entry, (*COLUMNS, MISPRINT)),
    *(_with_batch_norm(column) for column in COLUMNS if column.name in ("vgg-11", "vgg-13", "vgg-16", "vgg-19")),
)
