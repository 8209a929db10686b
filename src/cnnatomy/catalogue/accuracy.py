"""Published accuracies on ImageNet (validation, one central crop), and whose they are.

Of several figures the one of the authors' own release is taken where the network is theirs to the letter, else that of
the implementation that ours equals. Training differs: torchvision's figures are of its first weights, IMAGENET1K_V1.
"""

from __future__ import annotations

from typing import NamedTuple


class Accuracy(NamedTuple):
    """Top-1 and top-5 in percent, None where it was not published, and by whom."""

    top1: float | None
    top5: float | None
    source: str


def _errors(top1: float, top5: float, source: str) -> Accuracy:
    """From errors in percent, which many papers print."""
    return Accuracy(round(100 - top1, 3), round(100 - top5, 3), source)


_TORCHVISION = "torchvision {}, IMAGENET1K_V1"
_BVLC = "BVLC/caffe models/{}"
_SLIM = "tensorflow/models research/slim"
_MOBILENET = "tensorflow/models research/slim/nets/mobilenet_v1.md, with ReLU6"
_MOBILENET2 = "tensorflow/models research/slim/nets/mobilenet/README.md"
_HE = "KaimingHe/deep-residual-networks"
_SE = "hujie-frank/SENet"
_RESNEXT = "facebookresearch/ResNeXt; top 5 from Cadene/pretrained-models.pytorch"
_DPN = "cypw/DPNs, 224 pixels"
_OSMR = "osmr/imgclsmob"
_KERAS = "Keras Applications"


def _torchvision(**names: tuple[float, float]) -> dict[str, Accuracy]:
    return {name: Accuracy(*figures, _TORCHVISION.format(name)) for name, figures in names.items()}


_V1 = _torchvision(
    alexnet=(56.522, 79.066),
    vgg11=(69.02, 88.628),
    vgg13=(69.928, 89.246),
    vgg16=(71.592, 90.382),
    vgg19=(72.376, 90.876),
    vgg11_bn=(70.37, 89.81),
    vgg13_bn=(71.586, 90.374),
    vgg16_bn=(73.36, 91.516),
    vgg19_bn=(74.218, 91.842),
    googlenet=(69.778, 89.53),
    inception_v3=(77.294, 93.45),
    squeezenet1_0=(58.092, 80.42),
    squeezenet1_1=(58.178, 80.624),
    densenet121=(74.434, 91.972),
    densenet161=(77.138, 93.56),
    densenet169=(75.6, 92.806),
    densenet201=(76.896, 93.37),
    resnet18=(69.758, 89.078),
    resnet34=(73.314, 91.42),
    resnet50=(76.13, 92.862),
    resnet101=(77.374, 93.546),
    resnet152=(78.312, 94.046),
    resnext50_32x4d=(77.618, 93.698),
)
"""From the metadata of torchvision's weights, by its names; a test compares them with the installed package."""

ACCURACY: dict[str, Accuracy] = {
    "alexnet": Accuracy(57.1, 80.2, _BVLC.format("bvlc_alexnet")),
    "alexnet-ungrouped": _errors(38.07, 16.1, _OSMR),
    "alexnet-torchvision": _V1["alexnet"],
    "caffenet": Accuracy(57.4, 80.4, _BVLC.format("bvlc_reference_caffenet")),
    "zfnet": _errors(39.21, 16.78, _OSMR),
    "vgg-11": _V1["vgg11"],
    "vgg-13": _V1["vgg13"],
    "vgg-16": _V1["vgg16"],
    "vgg-19": _V1["vgg19"],
    "vgg-11-bn": _V1["vgg11_bn"],
    "vgg-13-bn": _V1["vgg13_bn"],
    "vgg-16-bn": _V1["vgg16_bn"],
    "vgg-19-bn": _V1["vgg19_bn"],
    "mobilenet-v1-1.0": Accuracy(70.9, 89.9, _MOBILENET),
    "mobilenet-v1-0.75": Accuracy(68.4, 88.2, _MOBILENET),
    "mobilenet-v1-0.5": Accuracy(63.3, 84.9, _MOBILENET),
    "mobilenet-v1-0.25": Accuracy(49.8, 74.2, _MOBILENET),
    "mobilenet-v1-1.0-relu6": Accuracy(70.9, 89.9, _MOBILENET),
    "googlenet": Accuracy(68.7, 88.9, _BVLC.format("bvlc_googlenet")),
    "googlenet-aux": Accuracy(68.7, 88.9, _BVLC.format("bvlc_googlenet")),
    "googlenet-tv": _V1["googlenet"],
    "bn-inception": _errors(25.12, 7.54, _OSMR),
    "inception-v3": Accuracy(78.0, 93.9, _SLIM),
    "inception-v3-aux": _V1["inception_v3"],
    "inception-v4": Accuracy(80.2, 95.2, _SLIM),
    "squeezenet-1.0": Accuracy(None, 80.3, "forresti/SqueezeNet"),
    "squeezenet-1.0-conv10pad1": Accuracy(None, 80.3, "forresti/SqueezeNet"),
    "squeezenet-1.0-224": _V1["squeezenet1_0"],
    "squeezenet-1.1": _V1["squeezenet1_1"],
    "densenet-121": _V1["densenet121"],
    "densenet-161": _V1["densenet161"],
    "densenet-169": _V1["densenet169"],
    "densenet-201": _V1["densenet201"],
    "resnet-18": _V1["resnet18"],
    "resnet-34": _V1["resnet34"],
    "resnet-50": _V1["resnet50"],
    "resnet-50-v1": _errors(24.7, 7.8, _HE),
    "resnet-101": _V1["resnet101"],
    "resnet-101-v1": _errors(23.6, 7.1, _HE),
    "resnet-152": _V1["resnet152"],
    "resnet-152-v1": _errors(23.0, 6.7, _HE),
    "preact-resnet-18": _errors(28.16, 9.51, _OSMR),
    "preact-resnet-34": _errors(24.55, 7.51, _OSMR),
    "preact-resnet-50": _errors(22.27, 6.2, _OSMR),
    "preact-resnet-101": _errors(21.45, 5.75, _OSMR),
    "preact-resnet-152": _errors(19.17, 4.46, _OSMR),
    "resnext-50-32x4d": _V1["resnext50_32x4d"],
    "resnext-101-32x4d": Accuracy(78.8, 94.4, _RESNEXT),
    "resnext-101-64x4d": Accuracy(79.6, 94.7, _RESNEXT),
    "se-resnet-50": _errors(22.37, 6.36, _SE),
    "se-resnet-101": _errors(21.75, 5.72, _SE),
    "se-resnet-152": _errors(21.34, 5.54, _SE),
    "se-resnext-50-32x4d": _errors(20.97, 5.54, _SE),
    "se-resnext-101-32x4d": _errors(19.81, 4.96, _SE),
    "mobilenet-v2": Accuracy(71.8, 91.0, _MOBILENET2),
    "mobilenet-v2-1.4": Accuracy(75.0, 92.5, _MOBILENET2),
    "mobilenet-v2-0.75": Accuracy(69.8, 89.6, _MOBILENET2),
    "mobilenet-v2-0.5": Accuracy(65.4, 86.4, _MOBILENET2),
    "mobilenet-v2-0.35": Accuracy(60.3, 82.9, _MOBILENET2),
    "xception": Accuracy(79.0, 94.5, _KERAS),
    "shufflenet-g1": _errors(34.41, 13.5, _OSMR),
    "shufflenet-g3": _errors(32.2, 12.3, "megvii-model/ShuffleNet-Series"),
    "shufflenet-g4": _errors(33.84, 13.1, _OSMR),
    "shufflenet-g8": _errors(32.0, 13.6, "megvii-model/ShuffleNet-Series"),
    "shiftnet-a": Accuracy(70.1, 89.7, "Wu et al. 2017, as a survey cites it"),
    "dpn-92": _errors(20.73, 5.37, _DPN),
    "dpn-98": _errors(20.15, 5.15, _DPN),
    "dpn-131": _errors(19.93, 5.12, _DPN),
    "inception-resnet-v2": Accuracy(80.4, 95.3, _SLIM),
    "nasnet-a-mobile": Accuracy(74.0, 91.6, _SLIM),
    "nasnet-a-large": Accuracy(82.7, 96.2, _SLIM),
    "pnasnet-5-mobile": Accuracy(74.2, 91.9, _SLIM),
    "pnasnet-5-large": Accuracy(82.9, 96.2, _SLIM),
}
"""By the names of the catalogue."""
