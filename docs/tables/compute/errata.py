"""What the errata say that can be computed, computed: for each the numbers that it names, from our accounts."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

import cnnatomy as cn
from cnnatomy.analysis import Account, lecture_rule
from cnnatomy.catalogue.parallel.googlenet import INCEPTIONS
from cnnatomy.layers import Add, Conv, FullyConnected
from compute.accounts import counted, of, output, products, rows, totals
from compute.cells import PRINTED
from compute.parallel import DENSITIES, pruned, separable_stem


class Fact(NamedTuple):
    """A number that an erratum names, and how we come by it."""

    erratum: str
    what: str
    named: int | float | str
    found: Callable[[], int | float | str]

    @property
    def holds(self) -> bool:
        """Whether we find what the erratum names."""
        return self.found() == self.named


def _parameters(name: str) -> Callable[[], int]:
    return lambda: counted(name).totals.parameters


def _macs(name: str, *left_out: str) -> Callable[[], int]:
    return lambda: counted(name).totals.macs - sum(totals(counted(name), path).macs for path in left_out)


def _giga(name: str, digits: int = 3) -> Callable[[], float]:
    return lambda: round(counted(name).totals.macs / 1e9, digits)


def _of(name: str, path: str) -> Callable[[], int]:
    return lambda: totals(counted(name), path).parameters


def _printed_sum(column: str) -> Callable[[], int]:
    table = PRINTED["tables"]["alexnet"]
    return lambda: sum(int(row[table["columns"].index(column)]) for row in table["rows"])


def _rows_of(kernel: int, size: int, **options: int) -> Callable[[], int]:
    return lambda: of(Conv(8, kernel, **options), (3, size, size)).rows[0].output[1]


def _module_5a() -> Account:
    return of(INCEPTIONS["5a"], (928, 7, 7))


def _fire8(last: int) -> Callable[[], int]:
    table = PRINTED["tables"]["squeezenet"]
    fire8 = dict(zip(table["columns"], next(row for row in table["rows"] if row[0] == "fire8"), strict=True))
    densities = [int(fire8[column].rstrip("%")) for column in DENSITIES[:2]] + [last]
    return lambda: pruned(products(rows(counted("squeezenet-1.0"), "body.fire8")), densities)


def _channels(name: str) -> Callable[[], str]:
    return lambda: ", ".join(str(output(counted(name), f"body.conv{n}")[0]) for n in range(2, 6))


def _fields(*names: str) -> Callable[[], str]:
    def found() -> str:
        fields = [counted(name).receptive_field for name in names]
        return ", ".join(f"{lecture_rule(field)[0]} for {field.size[0]}" for field in fields)

    return found


def _classifier_by_pixels() -> Fraction:
    image = of(Conv(1000, 1), (2048, 7, 7)).totals.macs
    return Fraction(image, of(FullyConnected(1000), (2048,)).totals.macs)


def _refuses(name: str, *shape: int) -> Callable[[], str]:
    def found() -> str:
        try:
            cn.network(name).account(shape)
        except cn.UserError:
            return "refused"
        return "accepted"

    return found


FACTS = (
    Fact("E01", "parameters of conv1", 34_944, _of("alexnet-ungrouped", "tail.conv1")),
    Fact("E01", "parameters of conv2", 614_656, _of("alexnet-ungrouped", "body.conv2")),
    Fact("E01", "parameters of conv3", 885_120, _of("alexnet-ungrouped", "body.conv3")),
    Fact("E01", "parameters of conv4", 1_327_488, _of("alexnet-ungrouped", "body.conv4")),
    Fact("E01", "parameters of conv5", 884_992, _of("alexnet-ungrouped", "body.conv5")),
    Fact("E01", "parameters without groups", 62_378_344, _parameters("alexnet-ungrouped")),
    Fact("E01", "sum of the printed column", 63_027_048, _printed_sum("Parameter")),
    Fact("E02", "MACs without groups", 1_135_256_096, _macs("alexnet-ungrouped")),
    Fact("E02", "MACs as published", 724_406_816, _macs("alexnet")),
    Fact("E02", "sum of the printed column", 1_141_970_032, _printed_sum("MACs")),
    Fact("E03", "parameters as published", 60_965_224, _parameters("alexnet")),
    Fact("E04", "rows of conv1, padding 1", 54, _rows_of(11, 224, stride=4, padding=1)),
    Fact("E04", "rows of conv1, padding 2", 55, _rows_of(11, 224, stride=4, padding=2)),
    Fact("E04", "rows of conv1, 227 pixels", 55, _rows_of(11, 227, stride=4)),
    Fact("E05", "parameters of CaffeNet, grouped", 60_965_224, _parameters("caffenet")),
    Fact("E06", "neurons of conv1", 290_400, lambda: rows(counted("alexnet"), "tail.conv1")[0].feature_map_elements),
    Fact("E07", "MACs of LeNet without the last layer", 415_680, _macs("lenet-5", "head.output")),
    Fact("E07", "parameters of LeNet", 61_706, _parameters("lenet-5")),
    Fact("E08", "MACs without the last layer", 1_005_849_728, _macs("alexnet-d2l", "head.fc8")),
    Fact("E08", "parameters of the whole network", 50_844_008, _parameters("alexnet-d2l")),
    Fact("E09", "parameters of the lecture's code", 81_194, _parameters("lenet-kainz-code")),
    Fact("E09", "the lecture's code on 28 x 28 pixels", "refused", _refuses("lenet-kainz-code", 1, 28, 28)),
    Fact("E10", "parameters of LeNet-5 of 1998", 60_000, _parameters("lenet-5-1998")),
    Fact("E11", "parameters", 61_100_840, _parameters("alexnet-torchvision")),
    Fact("E11", "GMACs", 0.714, _giga("alexnet-torchvision")),
    Fact("E13", "parameters of Inception V4", 42_679_816, _parameters("inception-v4")),
    Fact("E13", "its additions of maps", 0, lambda: _layers("inception-v4", Add)),
    Fact("E16", "parameters of the figure's", 62_357_608, _parameters("zfnet")),
    Fact("E16", "GMACs of the figure's", 1.168, _giga("zfnet")),
    Fact("E16", "parameters of the text's", 107_627_624, _parameters("zfnet-512")),
    Fact("E16", "GMACs of the text's", 2.477, _giga("zfnet-512")),
    Fact("E18", "parameters as misprinted", 138_320_616, _parameters("vgg-d-seed001-extraction")),
    Fact("E18", "GMACs as misprinted", 13.62, _giga("vgg-d-seed001-extraction", 2)),
    Fact("E18", "parameters of VGG-16", 138_357_544, _parameters("vgg-16")),
    Fact("E19", "weight layers of VGG-16", 16, lambda: counted("vgg-16").depth),
    Fact("E19", "weight layers of VGG-19", 19, lambda: counted("vgg-19").depth),
    Fact("E20", "parameters of configuration C", 133_638_952, _parameters("vgg-c")),
    Fact("E20", "its GMACs", 11.771, _giga("vgg-c")),
    Fact("E21", "MACs with stride 1", 568_740_352, _macs("mobilenet-v1-1.0")),
    Fact("E21", "MACs with stride 2", 533_833_216, _macs("mobilenet-v1-literal-stride")),
    Fact("E23", "weights of the separable convolution", 2_712, lambda: _separable("weights")),
    Fact("E23", "its MACs", 34_019_328, lambda: _separable("macs")),
    Fact("E23", "weights of the plain one", 9_408, lambda: totals(counted("googlenet"), "tail.conv1").weights),
    Fact("E24", "Ki weights of 5a on 928 channels", 1072, lambda: _module_5a().totals.weights // 1024),
    Fact("E24", "M MACs of 5a on 928 channels", 54, lambda: round(_module_5a().totals.macs / 1e6)),
    Fact("E25", "parameters of GoogLeNet", 6_998_552, _parameters("googlenet")),
    Fact("E25", "with both auxiliary heads", 13_378_280, _parameters("googlenet-aux")),
    Fact("E26", "fully connected layers", 1, lambda: _layers("googlenet", FullyConnected)),
    Fact("E27", "parameters of torchvision's", 6_624_904, _parameters("googlenet-tv")),
    Fact("E27", "its GMACs", 1.498, _giga("googlenet-tv")),
    Fact("E28", "parameters of the public V3", 23_834_568, _parameters("inception-v3")),
    Fact("E28", "with its auxiliary head", 27_161_264, _parameters("inception-v3-aux")),
    Fact("E28", "GMACs", 5.713, _giga("inception-v3")),
    Fact("E30", "parameters of BN-Inception", 11_295_240, _parameters("bn-inception")),
    Fact("E30", "its GMACs", 2.0326, _giga("bn-inception", 4)),
    Fact("E31", "parameters of Inception V4", 42_679_816, _parameters("inception-v4")),
    Fact("E31", "parameters of Inception-ResNet V1", 22_756_328, _parameters("inception-resnet-v1")),
    Fact("E31", "with a sixth module C", 24_357_096, _parameters("inception-resnet-v1-6c")),
    Fact("E31", "parameters of Inception-ResNet V2", 55_843_464, _parameters("inception-resnet-v2")),
    Fact("E32", "rows of conv1 on 224 pixels", 109, _rows_of(7, 224, stride=2)),
    Fact("E32", "rows of conv1 on 227 pixels", 111, _rows_of(7, 227, stride=2)),
    Fact("E33", "columns of maxpool8", 13, lambda: output(counted("squeezenet-1.0"), "body.pool8")[2]),
    Fact("E34", "left of fire8 at 33 %", 82_005, _fire8(33)),
    Fact("E34", "left of fire8 at 30 %", 77_581, _fire8(30)),
    Fact("E35", "M MACs with padding, as released", 861.3, lambda: _mega("squeezenet-1.0-conv10pad1")),
    Fact("E35", "M MACs without", 832.7, lambda: _mega("squeezenet-1.0")),
    Fact("E37", "parameters of DenseNet-121", 7_978_856, _parameters("densenet-121")),
    Fact("E37", "of DenseNet-169", 14_149_480, _parameters("densenet-169")),
    Fact("E37", "of DenseNet-201", 20_013_928, _parameters("densenet-201")),
    Fact("E37", "of DenseNet-264", 33_337_704, _parameters("densenet-264")),
    Fact("E38", "GMACs of ResNet-18, option A", 1.795, _giga("resnet-18-option-a")),
    Fact("E38", "of ResNet-34, option A", 3.644, _giga("resnet-34-option-a")),
    Fact("E38", "of ResNet-50, stride in 1x1", 3.858, _giga("resnet-50-v1")),
    Fact("E38", "of ResNet-101, stride in 1x1", 7.570, _giga("resnet-101-v1")),
    Fact("E38", "of ResNet-152, stride in 1x1", 11.282, _giga("resnet-152-v1")),
    Fact("E38", "of ResNet-152, stride in 3x3", 11.514, _giga("resnet-152")),
    Fact("E39", "weights of ResNet-50", 25_502_912, lambda: counted("resnet-50").totals.weights),
    Fact("E39", "its parameters", 25_557_032, _parameters("resnet-50")),
    Fact("E39", "with statistics", 25_610_152, lambda: _with_statistics("resnet-50")),
    Fact("E44", "parameters of SE-ResNet-50", 28_088_024, _parameters("se-resnet-50")),
    Fact("E44", "its GMACs", 3.860, _giga("se-resnet-50")),
    Fact("E44", "with stride in 3x3", 4.092, _giga("se-resnet-50-v1-5")),
    Fact("E44", "parameters of SE-ResNeXt-50", 27_559_896, _parameters("se-resnext-50-32x4d")),
    Fact("E44", "its GMACs", 4.233, _giga("se-resnext-50-32x4d")),
    Fact("E45", "DenseNet-161 with statistics", 28_900_936, lambda: _with_statistics("densenet-161")),
    Fact("E45", "DPN-92 with statistics", 37_793_608, lambda: _with_statistics("dpn-92")),
    Fact("E45", "DPN-98 with statistics", 61_735_624, lambda: _with_statistics("dpn-98")),
    Fact("E46", "channels of DPN-92's stages", "336, 704, 1552, 2688", _channels("dpn-92")),
    Fact("E46", "channels of DPN-98's stages", "336, 768, 1728, 2688", _channels("dpn-98")),
    Fact("E47", "M MACs of g = 2 with the last layer", 140.8, lambda: _mega("shufflenet-g2")),
    Fact("E47", "M MACs of g = 8 with the last layer", 138.4, lambda: _mega("shufflenet-g8")),
    Fact("E48", "parameters of ShiftNet-A", 4_188_680, _parameters("shiftnet-a")),
    Fact("E48", "its GMACs", 1.4243, _giga("shiftnet-a", 4)),
    Fact("E49", "parameters of MobileNet V2", 3_504_872, _parameters("mobilenet-v2")),
    Fact("E49", "its MACs", 300_774_272, _macs("mobilenet-v2")),
    Fact("E50", "parameters of Xception", 22_855_952, _parameters("xception")),
    Fact("E50", "with statistics", 22_910_480, lambda: _with_statistics("xception")),
    Fact("E50", "its GMACs", 8.357, _giga("xception")),
    Fact(
        "E51",
        "the recipe, for the exact field, of LeNet, AlexNet, VGG-16, MobileNet",
        "19 for 16, 226 for 195, 243 for 212, 346 for 315",
        _fields("lenet-5", "alexnet", "vgg-16", "mobilenet-v1-1.0"),
    ),
    Fact("E52", "MACs of a 3x3 in each stage of ResNet", 115_605_504, lambda: _every_stage()),
    Fact("E53", "MACs for 7x7 pixels, in those for one", 49, lambda: int(_classifier_by_pixels())),
    Fact("E59", "weights of 3x3 from 8 to 8 channels", 9 * 8 * 8, lambda: of(Conv(8, 3), (8, 9, 9)).totals.weights),
)


def _separable(quantity: str) -> int:
    return int(getattr(totals(separable_stem(), "tail.conv1", "tail.conv2"), quantity))


def _layers(name: str, kind: type) -> int:
    return sum(isinstance(row.node.layer, kind) for row in counted(name))


def _mega(name: str) -> float:
    return round(counted(name).totals.macs / 1e6, 1)


def _with_statistics(name: str) -> int:
    return counted(name).totals.parameters + counted(name).totals.buffers


def _every_stage() -> int:
    """The MACs of the last 3x3 convolution of every stage of ResNet-18, if they are all the same."""
    found = {products(rows(counted("resnet-18"), f"body.stage{n}"))[-1].macs for n in range(1, 5)}
    return found.pop() if len(found) == 1 else 0


def facts(erratum: str) -> list[Fact]:
    """What of an erratum can be computed."""
    return [fact for fact in FACTS if fact.erratum == erratum]
