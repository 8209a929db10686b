"""Networks of torchvision and timm, of every family, are read: parameters and MACs are what torch counts."""

from __future__ import annotations

import pytest
import torch

import cnnatomy as cn
from cnnatomy.analysis import account
from cnnatomy.design.build import build
from cnnatomy.runs.weights.transplant import from_module
from helpers import flops
from kinds import others_in_full
from peers import on_meta, torchvision

QUICK = ["torchvision:resnet18", "torchvision:mobilenet_v3_small", "timm:convnext_atto", "timm:regnety_002"]
TORCHVISION = (
    "alexnet convnext_tiny densenet121 efficientnet_b0 efficientnet_v2_s googlenet inception_v3 mnasnet0_5 mobilenet_v2"
    " mobilenet_v3_large regnet_x_400mf regnet_y_800mf resnet50 resnext50_32x4d shufflenet_v2_x0_5 squeezenet1_0"
    " squeezenet1_1 vgg11 vgg16_bn wide_resnet50_2 maxvit_t swin_t swin_v2_t vit_b_16"
)
TIMM = (
    "bat_resnext26ts botnet26t_256 coatnet_nano_rw_224 convformer_s18 convmixer_768_32 convnextv2_atto cspdarknet53"
    " cspresnet50 darknet53 densenet121 dla34 dm_nfnet_f0 dpn68 eca_resnet33ts edgenext_xx_small efficientformer_l1"
    " efficientnet_b0 ese_vovnet19b_dw fasternet_t0 fastvit_t8 gernet_s ghostnet_100 ghostnetv2_100 halonet26t"
    " hardcorenas_a hgnet_tiny hrnet_w18_small inception_next_tiny inception_resnet_v2 inception_v4 lambda_resnet26t"
    " lcnet_035 legacy_seresnet18 levit_128s mambaout_femto mixnet_s mobilenetv3_small_050 mobilenetv4_conv_small"
    " mobileone_s0 mobilevit_xxs nasnetalarge nf_resnet50 pnasnet5large poolformer_s12 rdnet_tiny regnetx_002"
    " repghostnet_050 repvgg_a0 repvit_m0_9 res2net50_26w_4s resnest14d resnetv2_50 resnet50_gn resnet26d rexnet_100"
    " selecsls42 seresnet50 skresnet18 starnet_s1 tf_efficientnet_b0 tf_efficientnet_cc_b0_4e tf_mixnet_s tinynet_e"
    " tresnet_m visformer_tiny vovnet39a xception xception41"
)
SLOW = [f"torchvision:{name}" for name in TORCHVISION.split()] + [f"timm:{name}" for name in TIMM.split()]


def agrees(name: str) -> None:
    module, shape = on_meta(name)
    module.eval()
    graph = cn.read(module, shape)
    totals = account(graph).totals
    unused = sum(torch.Size(size).numel() for _, size in graph.unused)
    assert totals.parameters + unused == sum(p.numel() for p in module.parameters())
    assert 2 * totals.macs == flops(module, torch.empty(1, *shape, device="meta"))
    assert totals.not_counted == 0


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", QUICK)
def test_a_network_of_a_peer_is_read_exactly(name: str) -> None:
    agrees(name)


@pytest.mark.slow
@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", others_in_full(SLOW[::3], SLOW))
def test_a_network_of_every_family_is_read_exactly(name: str) -> None:
    agrees(name)


def test_the_list_is_long_enough() -> None:
    assert len({*QUICK, *SLOW}) >= 60


BUILDABLE = ("resnet18", "densenet121", "mobilenet_v2", "mobilenet_v3_small", "squeezenet1_1", "shufflenet_v2_x0_5")
BUILDABLE += ("efficientnet_b0", "regnet_x_400mf", "googlenet")


@pytest.mark.slow
@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", BUILDABLE)
def test_a_network_that_was_read_is_built_and_computes_the_same(name: str) -> None:
    torch.manual_seed(0)
    options = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
    module = torchvision().models.get_model(name, **options).eval()
    ours = build(cn.read(module, (3, 64, 64)))
    done = from_module(ours, module, torch.rand(2, 3, 64, 64), name)
    assert done.difference is not None
    assert done.difference < 1e-10
