"""Numbers that the lectures print in the text, and a table of data sets."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from cnnatomy.analysis import Account
from cnnatomy.catalogue import find
from cnnatomy.design import Chain
from cnnatomy.layers import Conv
from cnnatomy.layers.layer import elements
from compute.accounts import counted, of, output, pixels, rows
from compute.cells import Claim, Table, Way, also_truncated
from compute.chain import table_alexnet


def stack(count: int, kernel: int) -> Account:
    """So many convolutions on one channel, without bias."""
    return of(Chain(*[Conv(1, kernel, padding=kernel // 2, bias=False)] * count), (1, 16, 16))


def _text() -> Iterator[Claim]:
    def row(number: int, *ways: Way, erratum: str = "") -> Claim:
        return Claim(number, "printed", ways, erratum)

    alexnet, vgg, googlenet = counted("alexnet"), counted("vgg-16"), counted("googlenet")
    squeezenet = counted("squeezenet-1.0")
    neurons = [f"{each.feature_map_elements:,}" for each in alexnet if each.weights]
    yield row(0, *also_truncated(Way(alexnet.totals.parameters)))
    yield row(1, Way(elements(alexnet.input)), Way(elements(table_alexnet().input), "224 pixels, padded by 3 (E04)"))
    yield row(2, Way(int(neurons[0].replace(",", ""))), erratum="E06")
    yield row(3, Way("-".join(neurons[1:5])))
    yield row(4, Way("-".join(neurons[5:])))
    yield row(5, Way(alexnet.depth))
    sizes = (output(counted("zfnet"), path)[1] for path in ("tail.conv1", "body.conv2", "body.conv3"))
    yield row(6, Way("-".join(map(str, sizes))))
    yield row(7, Way(counted("vgg-19").depth))
    yield row(8, Way(counted("vgg-19").depth), erratum="E19")
    yield row(9, Way(vgg.totals.parameters))
    yield row(10, Way(Fraction(vgg.totals.parameters, alexnet.totals.parameters)))
    two, three, five, seven = stack(2, 3), stack(3, 3), stack(1, 5), stack(1, 7)
    for number, account in ((11, two), (12, five), (14, three), (15, seven)):
        yield row(number, Way(account.totals.weights))
    for number, account in ((13, two), (16, three)):
        yield row(number, Way(account.receptive_field.size[0]))
    yield row(17, Way(100 - Fraction(100 * three.totals.weights, seven.totals.weights)))
    yield row(18, Way(of(Conv(32, 5, padding=2), (192, 28, 28)).totals.macs))
    yield row(19, Way(googlenet.depth))
    yield row(20, Way(len({each.path.split(".")[1] for each in rows(googlenet, "body") if "inception" in each.path})))
    yield row(21, Way(googlenet.totals.parameters), erratum="E25")
    yield row(22, Way(Fraction(alexnet.totals.parameters, googlenet.totals.parameters)), erratum="E25")
    ratio = Fraction(alexnet.totals.parameters, squeezenet.totals.parameters)
    yield row(23, Way(ratio), Way(round(ratio, -1), "to the nearest ten"))
    yield row(24, Way(counted("resnet-152").depth))
    for number, size in ((25, (3, 224, 224)), (26, (3, 512, 1024))):
        yield row(number, Way(pixels(counted("resnet-50", size).features.shape, "x")))


TEXT = Table(
    "text",
    "Numbers in the text",
    "What the lectures say outside their tables and a network can be asked for. What they say of training, of "
    "data and of accuracy is not here.",
    _text,
    labels=("of", "what", "where"),
    errata=("E06", "E19", "E25", "E51", "E59"),
)


def _mnist() -> Iterator[Claim]:
    yield Claim(3, "ImageNet", [Way(find("alexnet").classes)])
    yield Claim(3, "MNIST", [Way(find("lenet-5").classes)])


MNIST = Table(
    "mnist",
    "ImageNet beside MNIST",
    "Facts about data sets; what networks can be asked for is the number of classes. LeNet-5 reads 32 x 32 "
    "pixels: the digits in a margin of 2. Elsewhere the same slides print 50,000 examples (E57).",
    _mnist,
    labels=("",),
    words=(
        "Color images with nature objects",
        "Gray image for hand-written digits",
        "469 x 387",
        "28 x 28",
        "1.2 M",
        "60 K",
    ),
    errata=("E09", "E57"),
)

TABLES = (TEXT, MNIST)
