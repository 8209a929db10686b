"""How exactly the torch reader reads the models of torchvision, transformers, segmentation_models_pytorch and monai.

    python benchmarks/zoo.py [PATTERN ...] [--package PACKAGE ...] [--again] [--results benchmarks/results/zoo.jsonl]

Each model is made as its package makes it, without trained weights, and read. Its MACs must be half of what torch's
`FlopCounterMode` counts, its parameters `sum(p.numel() for p in module.parameters())`. Each becomes a line of
JSON in the results; a rerun goes on with those that have no line, and `--again` tries again what did not agree. What
does not agree, or is refused, is printed, with the totals.

All is on the meta device where the model can run there, else on random weights. torchvision and timm are the peers
of the tests. The others are not needed for anything else; an environment of their own keeps torch as it is:

    python -m venv --system-site-packages /tmp/zoo  # where torch, torchvision, timm and cnnatomy are installed
    /tmp/zoo/bin/pip install --no-deps transformers tokenizers regex einops monai segmentation-models-pytorch
"""

from __future__ import annotations

import argparse
import fnmatch
import importlib
import json
import re
import signal
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import cnnatomy as cn
from cnnatomy.analysis import account
from peers import torchvision

SECONDS = 240
"""How long one model may take."""

RESULTS = Path(__file__).resolve().parent / "results" / "zoo.jsonl"

Shape = tuple[int, ...]
Made = Callable[[], tuple[nn.Module, tuple[Shape, ...]]]
"""Makes a model; and the shapes of its inputs, without the batch."""


class AsList(nn.Module):
    """A detector takes a list of images."""

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, x: torch.Tensor) -> Any:
        return self.detector(list(x))


class Named(nn.Module):
    """Gives the input under a name."""

    def __init__(self, model: nn.Module, name: str) -> None:
        super().__init__()
        self.model, self.name = model, name

    def forward(self, x: torch.Tensor) -> Any:
        return self.model(**{self.name: x})


def of_torchvision() -> Iterator[tuple[str, Made]]:
    models, boxes = torchvision().models, importlib.import_module("torchvision.ops.boxes")
    if not torch._C._dispatch_has_kernel_for_dispatch_key("torchvision::nms", "CPU"):  # torch is another build
        torch.library.impl("torchvision::nms", "CPU")(_suppressed)
        boxes._assert_has_ops = lambda: None
    video = dict.fromkeys(("r3d_18", "mc3_18", "r2plus1d_18"), (3, 16, 112, 112))
    video |= dict.fromkeys(("s3d", "mvit_v1_b", "mvit_v2_s", "swin3d_t", "swin3d_s", "swin3d_b"), (3, 16, 224, 224))
    detection = set(models.list_models(module=models.detection))

    def made(name: str) -> Made:
        def make() -> tuple[nn.Module, tuple[Shape, ...]]:
            if name in detection:
                small = {} if name.startswith("ssd") else {"min_size": 320, "max_size": 320}
                return AsList(models.get_model(name, weights=None, weights_backbone=None, **small)), ((3, 320, 320),)
            if name.startswith("raft"):
                return models.get_model(name), ((3, 128, 128), (3, 128, 128))
            options = {"weights_backbone": None} if name.startswith(("deeplab", "fcn", "lraspp")) else {}
            if "googlenet" in name or "inception" in name:
                options = {"init_weights": False}
            return models.get_model(name, **options), (video.get(name, (3, 224, 224)),)

        return make

    for name in models.list_models():
        yield name, made(name)


def _suppressed(boxes: torch.Tensor, scores: torch.Tensor, threshold: float) -> torch.Tensor:
    """Non-maximum suppression, box by box."""
    kept: list[int] = []
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    waiting = scores.argsort(descending=True)
    while len(waiting):
        first, waiting = waiting[0], waiting[1:]
        kept.append(int(first))
        least = torch.maximum(boxes[first, :2], boxes[waiting, :2])
        most = torch.minimum(boxes[first, 2:], boxes[waiting, 2:])
        common = (most - least).clamp(min=0).prod(1)
        waiting = waiting[common <= threshold * (areas[first] + areas[waiting] - common)]
    return torch.tensor(kept, dtype=torch.long)


TRANSFORMERS = (
    "Aimv2VisionModel BeitForImageClassification BitForImageClassification BlipVisionModel CLIPVisionModel"
    " ChineseCLIPVisionModel ConditionalDetrForObjectDetection ConvNextForImageClassification"
    " ConvNextV2ForImageClassification CvtForImageClassification DFineForObjectDetection DPTForDepthEstimation"
    " DabDetrForObjectDetection Data2VecVisionForImageClassification DeformableDetrForObjectDetection"
    " DeiTForImageClassification DepthAnythingForDepthEstimation DetrForObjectDetection Dinov2ForImageClassification"
    " Dinov2WithRegistersForImageClassification DINOv3ViTModel DINOv3ConvNextModel"
    " EfficientNetForImageClassification EomtForUniversalSegmentation FlavaImageModel FocalNetForImageClassification"
    " GLPNForDepthEstimation HGNetV2ForImageClassification HieraForImageClassification IJepaForImageClassification"
    " LevitForImageClassification MLCDVisionModel MaskFormerForInstanceSegmentation"
    " Mask2FormerForUniversalSegmentation MobileNetV1ForImageClassification MobileNetV2ForImageClassification"
    " MobileViTForImageClassification MobileViTV2ForImageClassification PixioModel PoolFormerForImageClassification"
    " PvtForImageClassification PvtV2ForImageClassification RTDetrForObjectDetection RTDetrV2ForObjectDetection"
    " RegNetForImageClassification ResNetForImageClassification SamVisionModel SegformerForSemanticSegmentation"
    " SegformerForImageClassification SiglipVisionModel SuperPointForKeypointDetection"
    " SwiftFormerForImageClassification Swin2SRForImageSuperResolution SwinForImageClassification"
    " Swinv2ForImageClassification TableTransformerForObjectDetection TextNetForImageClassification"
    " TimesformerForVideoClassification UperNetForSemanticSegmentation ViTForImageClassification ViTMAEModel"
    " ViTMSNForImageClassification VideoMAEForVideoClassification VitDetModel"
    " VivitForVideoClassification YolosForObjectDetection"
    " ZoeDepthForDepthEstimation"
)


def of_transformers() -> Iterator[tuple[str, Made]]:
    library = importlib.import_module("transformers")
    library.logging.set_verbosity_error()

    def made(name: str) -> Made:
        def make() -> tuple[nn.Module, tuple[Shape, ...]]:
            kind = getattr(library, name)
            config = kind.config_class()
            if getattr(config, "use_pretrained_backbone", False):
                config.use_pretrained_backbone = False
            size = getattr(config, "image_size", None) or 224
            rows, columns = (size, size) if isinstance(size, int) else tuple(size)
            frames = (config.num_frames,) if "Video" in name else ()
            channels = 1 if "SuperPoint" in name else getattr(config, "num_channels", 3)
            return Named(kind(config), "pixel_values"), ((*frames, channels, rows, columns),)

        return make

    for name in TRANSFORMERS.split():
        yield name, made(name)


DECODERS = "Unet UnetPlusPlus MAnet Linknet FPN PSPNet DeepLabV3 DeepLabV3Plus PAN UPerNet Segformer"
ENCODERS = (
    "resnet34 resnext50_32x4d densenet121 mobilenet_v2 efficientnet-b0 vgg16_bn dpn68 se_resnet50 xception mit_b0"
    " mobileone_s0 tu-convnext_atto tu-regnety_002"
)
UNFIT = {"UnetPlusPlus": "mit_b0", "Linknet": "mit_b0"}
UNFIT |= dict.fromkeys(("DeepLabV3", "DeepLabV3Plus", "PAN"), "densenet121 vgg16_bn xception")
"""Encoders that a decoder does not take."""


def of_segmentation_models_pytorch() -> Iterator[tuple[str, Made]]:
    library = importlib.import_module("segmentation_models_pytorch")

    def made(decoder: str, encoder: str) -> Made:
        return lambda: (getattr(library, decoder)(encoder, encoder_weights=None, classes=3), ((3, 128, 128),))

    for decoder in DECODERS.split():
        for encoder in ENCODERS.split():
            if encoder not in UNFIT.get(decoder, ""):
                yield f"{decoder}/{encoder}", made(decoder, encoder)


FLAT, DEEP = (1, 64, 64), (1, 64, 64, 64)
TWO, THREE = {"spatial_dims": 2, "in_channels": 1}, {"spatial_dims": 3, "in_channels": 1}
LEVELS: dict[str, Any] = {"channels": (8, 16, 32), "strides": (2, 2)}
STEPS: dict[str, Any] = {"channels": (8, 16, 32), "strides": (2, 2, 2)}
KERNELS: dict[str, Any] = {"kernel_size": [3] * 4, "strides": [1, 2, 2, 2], "upsample_kernel_size": [2, 2, 2]}
LATENT: dict[str, Any] = {"channels": (32, 64), "attention_levels": (False, True), "num_res_blocks": (1, 1)}
MONAI: list[tuple[str, dict[str, Any], Shape]] = [
    ("UNet", {**TWO, "out_channels": 2, **LEVELS, "num_res_units": 2}, FLAT),
    ("UNet", {**THREE, "out_channels": 2, **LEVELS}, DEEP),
    ("AttentionUnet", {**TWO, "out_channels": 2, **LEVELS}, FLAT),
    ("BasicUNet", {**THREE, "out_channels": 2}, DEEP),
    ("BasicUNetPlusPlus", {**TWO, "out_channels": 2}, FLAT),
    ("SegResNet", {**THREE}, DEEP),
    ("SegResNetDS", {**THREE}, DEEP),
    ("SegResNetDS2", {**THREE}, DEEP),
    ("SegResNetVAE", {"input_image_size": (64, 64, 64), **THREE}, DEEP),
    ("DynUNet", {**TWO, "out_channels": 2, **KERNELS}, FLAT),
    ("DynUNet", {**THREE, "out_channels": 2, **KERNELS, "res_block": True}, DEEP),
    ("VNet", {"spatial_dims": 3, "in_channels": 1, "out_channels": 2}, DEEP),
    ("UNETR", {"in_channels": 1, "out_channels": 2, "img_size": (64, 64, 64)}, DEEP),
    ("SwinUNETR", {"in_channels": 1, "out_channels": 2, "feature_size": 24}, DEEP),
    ("SwinUNETR", {"in_channels": 1, "out_channels": 2, "feature_size": 24, "spatial_dims": 2}, FLAT),
    ("DenseNet121", {**TWO, "out_channels": 2}, FLAT),
    ("DenseNet169", {**THREE, "out_channels": 2}, DEEP),
    ("EfficientNetBN", {"model_name": "efficientnet-b0", "pretrained": False, **THREE}, DEEP),
    ("SEResNet50", {**TWO, "num_classes": 2}, FLAT),
    ("SEResNext50", {**THREE, "num_classes": 2}, DEEP),
    ("SENet154", {**TWO, "num_classes": 2}, FLAT),
    ("resnet18", {"spatial_dims": 3, "n_input_channels": 1, "num_classes": 2}, DEEP),
    ("resnet50", {"spatial_dims": 2, "n_input_channels": 1, "num_classes": 2}, FLAT),
    ("HighResNet", {**THREE, "out_channels": 2}, DEEP),
    ("AHNet", {"spatial_dims": 3, "in_channels": 1, "out_channels": 2, "psp_block_num": 3}, (1, 128, 128, 64)),
    ("Generator", {"latent_shape": (64,), "start_shape": (16, 8, 8), **LEVELS}, (64,)),
    ("Discriminator", {"in_shape": FLAT, **LEVELS}, FLAT),
    ("Classifier", {"in_shape": FLAT, "classes": 2, **LEVELS}, FLAT),
    ("Regressor", {"in_shape": FLAT, "out_shape": (2,), **LEVELS}, FLAT),
    ("AutoEncoder", {**TWO, "out_channels": 1, **STEPS}, FLAT),
    ("VarAutoEncoder", {"spatial_dims": 2, "in_shape": FLAT, "out_channels": 1, "latent_size": 4, **STEPS}, FLAT),
    ("ViT", {"in_channels": 1, "img_size": (64, 64), "patch_size": (16, 16), "spatial_dims": 2}, FLAT),
    ("ViTAutoEnc", {"in_channels": 1, "img_size": (64, 64), "patch_size": (16, 16), "spatial_dims": 2}, FLAT),
    ("MaskedAutoEncoderViT", {"in_channels": 1, "img_size": 64, "patch_size": 16, "spatial_dims": 2}, FLAT),
    ("FlexibleUNet", {"in_channels": 3, "out_channels": 2, "backbone": "efficientnet-b0"}, (3, 64, 64)),
    ("FlexibleUNet", {"in_channels": 3, "out_channels": 2, "backbone": "resnet18"}, (3, 64, 64)),
    ("RegUNet", {**TWO, "num_channel_initial": 8, "depth": 3}, FLAT),
    ("GlobalNet", {"image_size": [64, 64], **TWO, "num_channel_initial": 8, "depth": 3}, FLAT),
    ("LocalNet", {**TWO, "num_channel_initial": 8, "extract_levels": (0, 1, 2)}, FLAT),
    ("HoVerNet", {"mode": "fast"}, (3, 256, 256)),
    ("MedNeXtS", {**THREE, "out_channels": 2}, DEEP),
    ("MedNeXtB", {**TWO, "out_channels": 2}, FLAT),
    ("DAF3D", {"in_channels": 1, "out_channels": 2}, DEEP),
    ("Quicknat", {"num_classes": 2, "num_channels": 1}, FLAT),
    ("AutoencoderKL", {**TWO, **LATENT}, FLAT),
    ("VQVAE", {**TWO, "out_channels": 1}, FLAT),
    ("PatchDiscriminator", {**TWO, "channels": 16}, FLAT),
    ("MILModel", {"num_classes": 2, "pretrained": False, "mil_mode": "att"}, (4, 3, 64, 64)),
    ("MILModel", {"num_classes": 2, "pretrained": False, "mil_mode": "att_trans_pyramid"}, (4, 3, 64, 64)),
]


def of_monai() -> Iterator[tuple[str, Made]]:
    nets = importlib.import_module("monai.networks.nets")

    def made(name: str, options: dict[str, Any], shape: Shape) -> Made:
        return lambda: (getattr(nets, name)(**options), (shape,))

    seen: Counter[str] = Counter()
    for name, options, shape in MONAI:
        seen[name] += 1
        yield f"{name} {seen[name]}" if seen[name] > 1 else name, made(name, options, shape)


PACKAGES: dict[str, Callable[[], Iterator[tuple[str, Made]]]] = {
    "torchvision": of_torchvision,
    "transformers": of_transformers,
    "segmentation_models_pytorch": of_segmentation_models_pytorch,
    "monai": of_monai,
}


def counted(module: nn.Module, inputs: list[torch.Tensor]) -> float:
    """Half of what torch counts. It does not look into fused kernels of attention and of recurrent layers: without."""
    torch.manual_seed(0)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        module.requires_grad_(False)(*inputs)  # its hooks want gradients of whatever could have one
    return counter.get_total_flops() / 2


def what_it_reads(module: nn.Module, inputs: Any) -> dict[str, Any]:
    """The account of the graph that the module is read as."""
    start = time.perf_counter()
    graph = cn.read(module, *inputs)
    totals = account(graph).totals
    unknown = sorted({getattr(node.layer, "what", "") for node in graph if node.layer.kind == "not counted"})
    unused = sum(torch.Size(size).numel() for _, size in graph.unused)
    return {
        "read_macs": totals.macs,
        "read_parameters": totals.parameters + unused,
        "not_counted": unknown,
        "nodes": len(graph.nodes),
        "seconds": round(time.perf_counter() - start, 3),
    }


def on(device: str, make: Made) -> tuple[nn.Module, tuple[Shape, ...]]:
    torch.manual_seed(0)
    with torch.device(device):
        module, shapes = make()
    return module.eval(), shapes


def verdict(make: Made) -> dict[str, Any]:
    """What became of one model: on the meta device, else with weights, else on an example."""
    found: dict[str, Any] = {}
    for device in ("meta", "cpu"):
        try:
            module, shapes = on(device, make)
        except Exception as error:
            found["not_made"] = _line(error)
            continue
        found.pop("not_made", None)
        torch.manual_seed(0)
        tensors = [torch.rand(1, *shape, device=device) for shape in shapes]
        for inputs, by in ((shapes, "shape"), (tensors, "example")):
            if "read" in found or (device, by) == ("meta", "example"):
                continue
            try:
                found |= {**what_it_reads(module, inputs), "read": f"{device}, {by}"}
            except Exception as error:
                found.setdefault("refused", []).append(f"{device}, {by}: {_line(error)}")
        found["parameters"] = sum(p.numel() for p in module.parameters())
        if "macs" not in found:
            try:
                found["macs"] = counted(module, tensors)
                found.pop("not_run", None)
            except Exception as error:
                found["not_run"] = _line(error)
        if "read" in found and "macs" in found:
            break
    return {**found, "verdict": _said(found)}


def _said(found: dict[str, Any]) -> str:
    if "not_made" in found:
        return "not made"
    if "macs" not in found:
        return "does not run"
    if "read" not in found:
        return "refused"
    if found["read_macs"] != found["macs"] or found["read_parameters"] != found["parameters"]:
        return "differs"
    return "equal, but some operations that are no MACs" if found["not_counted"] else "equal"


def _line(error: BaseException) -> str:
    text = f"{type(error).__name__}: {error}".replace("\n", " ")
    return re.sub(r"/[^ ]*/(site-packages|lib|benchmarks)/", "", text)[:300]  # nobody else's files are there


def _late(*_: Any) -> None:
    raise TimeoutError(f"took longer than {SECONDS} seconds")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("patterns", nargs="*", default=["*"], help="names of models, such as 'swin*'")
    parser.add_argument("--package", action="append", choices=PACKAGES)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--again", action="store_true", help="try again what did not agree")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.backends.mha.set_fastpath_enabled(False)
    torch._C._set_mkldnn_enabled(False)
    torchvision()  # the others import it, and need it declared
    signal.signal(signal.SIGALRM, _late)
    lines = options.results.read_text(encoding="utf-8").splitlines() if options.results.exists() else []
    results = {(one["package"], one["model"]): one for one in map(json.loads, lines)}
    for package in options.package or PACKAGES:
        try:
            models = list(PACKAGES[package]())
        except ImportError as error:
            print(f"{package} is left out: {error}")
            continue
        for name, make in models:
            before = results.get((package, name))
            wanted = any(fnmatch.fnmatch(name, pattern) for pattern in options.patterns)
            if not wanted or (before and not (options.again and before["verdict"] != "equal")):
                continue
            signal.alarm(SECONDS)
            try:
                said = verdict(make)
            except TimeoutError as error:
                said = {"verdict": str(error)}
            finally:
                signal.alarm(0)
            results[package, name] = {"package": package, "model": name, **said}
            options.results.write_text("".join(json.dumps(one) + "\n" for one in results.values()), encoding="utf-8")
    report(list(results.values()))


def report(results: list[dict[str, Any]]) -> None:
    """What does not agree, and how many do."""
    for one in results:
        if one["verdict"] != "equal":
            print(json.dumps(one))
    for package in PACKAGES:
        verdicts = Counter(one["verdict"] for one in results if one["package"] == package)
        print(f"{package}: " + ", ".join(f"{count} {verdict}" for verdict, count in verdicts.most_common()))


if __name__ == "__main__":
    main()
