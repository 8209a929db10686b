"""Weights of other people's code in our networks: outputs are the same to 1e-10, and what does not fit is refused."""

from __future__ import annotations

import pickle

import pytest
import torch
from click.testing import CliRunner
from torch import nn

import cnnatomy as cn
from cnnatomy.cli import main
from cnnatomy.runs.weights.sources import read_state, save
from cnnatomy.runs.weights.transplant import TOLERANCE, from_module, from_state
from kinds import one_of_each_kind, others_in_full
from peers import timm, torchvision

TORCHVISION = {
    "alexnet-torchvision": "alexnet",
    "vgg-11": "vgg11",
    "vgg-13": "vgg13",
    "vgg-16": "vgg16",
    "vgg-19": "vgg19",
    "vgg-11-bn": "vgg11_bn",
    "vgg-13-bn": "vgg13_bn",
    "vgg-16-bn": "vgg16_bn",
    "vgg-19-bn": "vgg19_bn",
    "resnet-18": "resnet18",
    "resnet-34": "resnet34",
    "resnet-50": "resnet50",
    "resnet-101": "resnet101",
    "resnet-152": "resnet152",
    "squeezenet-1.0": "squeezenet1_0",
    "densenet-121": "densenet121",
    "densenet-161": "densenet161",
    "densenet-169": "densenet169",
    "densenet-201": "densenet201",
    "googlenet-tv": "googlenet",
    "inception-v3": "inception_v3",
    "mobilenet-v2": "mobilenet_v2",
    "resnext-50-32x4d": "resnext50_32x4d",
    "resnext-101-64x4d": "resnext101_64x4d",
    "squeezenet-1.1": "squeezenet1_1",
}
TIMM = {
    "dpn-92": "dpn92",
    "dpn-98": "dpn98",
    "dpn-131": "dpn131",
    "inception-resnet-v2": "inception_resnet_v2",
    "inception-v4": "inception_v4",
    "mobilenet-v1-1.0-relu6": "mobilenetv1_100",
    "mobilenet-v2-0.35": "mobilenetv2_035",
    "mobilenet-v2-0.5": "mobilenetv2_050",
    "mobilenet-v2-0.75": "mobilenetv2_075",
    "mobilenet-v2-1.4": "mobilenetv2_140",
    "nasnet-a-large": "nasnetalarge",
    "pnasnet-5-large": "pnasnet5large",
    "resnext-101-32x4d": "resnext101_32x4d",
    "se-resnet-50": "legacy_seresnet50",
    "se-resnet-101": "legacy_seresnet101",
    "se-resnet-152": "legacy_seresnet152",
    "se-resnet-50-v1-5": "seresnet50",
    "se-resnet-101-v1-5": "seresnet101",
    "se-resnet-152-v1-5": "seresnet152",
    "se-resnext-50-32x4d": "legacy_seresnext50_32x4d",
    "se-resnext-101-32x4d": "legacy_seresnext101_32x4d",
    "se-resnext-50-32x4d-padded": "seresnext50_32x4d",
    "xception": "legacy_xception",
}
COMPARED = one_of_each_kind([*TORCHVISION, *TIMM])
# The slowest: VGG is made of what alexnet-torchvision is made of, and searched cells take half as long as all others.
COMPARED -= {"vgg-11", "vgg-11-bn", "nasnet-a-large", "pnasnet-5-large", "inception-resnet-v2"}
SIZES = {"alexnet-torchvision": 224}  # fully connected layers on a map: other sizes are other networks
SIZES |= {name: 224 for name in TORCHVISION if name.startswith("vgg")}
SIZES |= dict.fromkeys(("inception-v3", "inception-v4", "inception-resnet-v2"), 96)  # take no less than 75


def with_distinct_statistics(module: nn.Module) -> nn.Module:
    """Batch norms that are not the identity, so that a mistaken one is seen; weights are random from the start."""
    torch.manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            for tensor in (part.weight, part.running_var):
                nn.init.uniform_(tensor, 0.5, 1.5)
            for tensor in (part.bias, part.running_mean):
                nn.init.normal_(tensor, std=0.1)
    return module


def check(name: str, theirs: nn.Module, size: int) -> None:
    torch.manual_seed(1)
    shape = (3, size, size)
    module = cn.network(name).build(shape)
    done = from_module(module, with_distinct_statistics(theirs), torch.randn(1, *shape), name)
    assert done.difference <= TOLERANCE
    module.load_state_dict(done.state)  # strict: every tensor of ours, and no other
    x = torch.randn(1, *shape, dtype=torch.float64)
    with torch.no_grad():
        got, expected = module.double().eval()(x), theirs.double().eval()(x)
    assert (got - expected).abs().max() <= TOLERANCE * expected.abs().max()


@pytest.mark.peers
@pytest.mark.parametrize("name", others_in_full(COMPARED, TORCHVISION))
def test_outputs_equal_torchvisions(name):
    make = getattr(torchvision().models, TORCHVISION[name])
    options = {"init_weights": True} if name.startswith(("googlenet", "inception")) else {}
    check(name, make(**options), SIZES.get(name, 64))


@pytest.mark.peers
@pytest.mark.parametrize("name", others_in_full(COMPARED, TIMM))
def test_outputs_equal_timms(name):
    check(name, timm().create_model(TIMM[name]), SIZES.get(name, 64))


@pytest.mark.peers
@pytest.mark.parametrize(
    ("name", "left_out"), [pytest.param("inception-v3", 5, marks=pytest.mark.full), ("inception-v3-aux", 0)]
)
def test_auxiliary_heads_are_aligned_where_ours_has_them_and_else_left_out(name, left_out):
    theirs = with_distinct_statistics(torchvision().models.inception_v3(init_weights=True))
    done = from_module(cn.network(name).build(), theirs, torch.randn(1, 3, 299, 299), name)
    assert done.difference <= TOLERANCE
    assert len(done.left_out) == left_out


@pytest.mark.peers
def test_at_least_45_variants_are_compared():
    assert len(TORCHVISION) + len(TIMM) >= 45


@pytest.mark.peers
def test_a_file_without_code_gives_the_same_alignment():
    theirs = with_distinct_statistics(torchvision().models.resnet18())
    module = cn.network("resnet-18").build((3, 64, 64))
    run = from_module(module, theirs, torch.randn(1, 3, 64, 64), "resnet18").state
    read = from_state(module, theirs.state_dict(), "resnet18").state
    assert all(torch.equal(run[name], read[name]) for name in run)


@pytest.mark.peers
def test_the_stride_in_another_convolution_is_refused_though_all_shapes_agree():
    theirs = torchvision().models.resnet50()
    with pytest.raises(cn.UserError, match=r"our body\.stage2\.block1\.bn1 .* reads, after 23 layers that correspond"):
        from_module(cn.network("resnet-50-v1").build((3, 64, 64)), theirs, torch.randn(1, 3, 64, 64), "resnet50")


def small() -> cn.Network:
    from cnnatomy.design import LinearHead
    from cnnatomy.layers import BatchNorm, Conv, ReLU

    return cn.Network(
        cn.Chain(Conv(4, 3), BatchNorm(), ReLU()), cn.Chain(Conv(6, 3), ReLU()), LinearHead(5), input=(1, 8, 8)
    )


def theirs(classes: int = 5) -> nn.Module:
    """The same network as somebody else would write it."""
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Conv2d(4, 6, 3),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Conv2d(6, classes, 1),  # a 1x1 convolution for our fully connected layer
        nn.Flatten(),
    )


def test_what_does_not_fit_is_listed():
    with pytest.raises(cn.UserError) as caught:
        from_state(small().build(), theirs(classes=7).state_dict(), "other")
    assert "ours without a counterpart: head.fc (weight 5x6, bias 5)" in str(caught.value)
    assert "theirs without a counterpart: 6 (weight 7x6x1x1, bias 7)" in str(caught.value)


def test_a_module_is_left_as_it_was():
    module, source = small().build(), theirs()
    source.train()
    before = {name: tensor.clone() for name, tensor in source.state_dict().items()}
    assert from_module(module, source, torch.randn(2, 1, 8, 8), "other").difference <= TOLERANCE
    assert source.training
    assert all(torch.equal(tensor, source.state_dict()[name]) for name, tensor in before.items())
    assert {tensor.dtype for tensor in module.parameters()} == {torch.float32}
    assert not source._forward_pre_hooks
    assert not any(part._forward_pre_hooks for part in [*source.modules(), *module.modules()])


@pytest.fixture
def design_file(tmp_path):
    from cnnatomy.readers.yaml import design

    path = tmp_path / "small.yaml"
    path.write_text(design.write(small()))
    return path


def test_files_of_both_kinds_become_safetensors_and_a_run_folder_that_predicts(tmp_path, design_file):
    from PIL import Image

    torch.save({"state_dict": {f"module.{n}": t for n, t in theirs().state_dict().items()}}, tmp_path / "x.pth")
    save(theirs().state_dict(), tmp_path / "x.safetensors")
    Image.new("L", (20, 30), 77).save(tmp_path / "grey.png")
    for i, source in enumerate(("x.pth", "x.safetensors")):
        out, run = tmp_path / f"ours{i}.safetensors", tmp_path / f"run{i}"
        arguments = [
            "weights",
            str(design_file),
            "--from",
            str(tmp_path / source),
            "--out",
            str(out),
            "--run",
            str(run),
        ]
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, result.output
        assert "4 layers of small took the weights" in result.output
        assert "no outputs were compared" in result.output
        module = small().build()
        module.load_state_dict(read_state(out))
        x = torch.randn(2, 1, 8, 8)
        assert torch.allclose(module.eval()(x), theirs().eval()(x), atol=1e-6)
        result = CliRunner().invoke(main, ["predict", str(run), str(tmp_path / "grey.png")])
        assert result.exit_code == 0, result.output


class Harmful:
    def __reduce__(self):
        return (print, ("harm done",))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("none.pth", "there is no such file"),
        ("x.bin", "weights are torchvision:NAME, timm:NAME, or a file"),
        ("x.onnx", "cannot read the ONNX file"),
        ("x.caffemodel", "cannot read the caffemodel"),
        ("harmful.pth", "holds more than tensors, such as a whole module, and nothing in a file is executed"),
        ("text.safetensors", "not a file of weights"),
        ("number.pth", "holds no state dict, only int"),
    ],
)
def test_a_bad_file_gets_one_message_and_nothing_in_it_is_executed(tmp_path, design_file, source, message, capsys):
    (tmp_path / "harmful.pth").write_bytes(pickle.dumps(Harmful()))
    (tmp_path / "text.safetensors").write_text("this is no file of weights")
    torch.save(5, tmp_path / "number.pth")
    result = CliRunner().invoke(main, ["weights", str(design_file), "--from", str(tmp_path / source)])
    assert result.exit_code == 2
    assert message in result.output
    assert "harm done" not in result.output + capsys.readouterr().out
