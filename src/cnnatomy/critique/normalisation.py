"""Rules about normalisation, nonlinearities and the range of values."""

from __future__ import annotations

from collections.abc import Iterator

from cnnatomy.critique.rule import Case, rule
from cnnatomy.critique.study import Study
from cnnatomy.layers import BatchNorm, LocalResponseNorm
from cnnatomy.layers.layer import elements


@rule("N4", "response-normalisation", "warning", "lecture 000, AlexNet; Simonyan and Zisserman 2014, section 2.1")
def response_normalisation(study: Study) -> Iterator[Case]:
    """Local response normalisation, which costs memory and time and does not help.

    VGG measured it: no gain on ImageNet, more memory, more time. Batch norm does what it was meant to do, makes
    training faster, and is folded into the convolution for inference.
    """
    nodes = [node for node in study.graph.nodes if isinstance(node.layer, LocalResponseNorm)]
    if not nodes:
        return
    maps = sum(elements(node.output.shape) for node in nodes)
    share = maps / study.account.totals.feature_map_elements
    yield Case(
        where=tuple(node.path for node in nodes),
        text=f"{len(nodes)} layers of it write {maps:,} values, {share:.0%} of all feature maps",
        evidence={"layers": len(nodes), "elements": maps, "share_of_maps": share},
        remedy=study.remedy(
            "replace it by batch norm, which is folded into the convolution before inference",
            {node: (BatchNorm(),) for node in nodes},
            mechanical=True,
        ),
    )
