"""The rule about long chains: layers one after the other, with no way around any of them."""

from __future__ import annotations

from collections.abc import Iterator

from cnnatomy.critique.rule import Case, rule, several
from cnnatomy.critique.study import SPATIAL, Study, depthwise
from cnnatomy.design.graph import Node
from cnnatomy.edits.change import Remedy
from cnnatomy.layers import Multiply

LONG = (18 + 34) // 2
"""Layers of a chain: half way between the 18 that did as well as with shortcuts, and the 34 that did worse than 18."""


@rule("W15", "no-shortcuts", "warning", "He et al. 2015, 'Deep Residual Learning', sections 1 and 4.1, figure 4")
def no_shortcuts(study: Study) -> Iterator[Case]:
    """A long chain of convolutions without shortcuts.

    Beyond some depth, more layers in a chain make even the training error worse, with batch norm too: on ImageNet 34
    plain layers do worse than 18, on CIFAR-10 56 worse than 20, and 110 do not train. It is not that they could do less
    but that they are hard to optimise; with a shortcut around each two, 152 layers trained. Counted are convolutions
    that all that reaches the output passes, one after the other; parallel and dense ways end a chain, a depthwise
    convolution and the 1x1 after it are one layer. VGG-19 is none, nor is a file for inference, in which
    shortcuts may have been merged into convolutions (RepVGG). Chains of any length train with starts made for them
    (Xiao et al. 2018), with which they were not found to be more accurate.
    """
    if study.graph.deployed:
        return
    chains: list[list[Node]] = [[]]
    for x in study.spine[1:]:
        node = x.node
        if node is None or (len(node.inputs) > 1 and not isinstance(node.layer, Multiply)):
            chains.append([])
        elif isinstance(node.layer, SPATIAL) and not depthwise(node):
            chains[-1].append(node)
    chain = max(chains, key=len)
    if len(chain) < LONG:
        return
    seen, resized = {chain[0].inputs[0].shape, chain[0].output.shape}, []
    for node in chain:
        if node.output.shape not in seen:
            seen.add(node.output.shape)
            resized.append(node)
    weights = sum(node.inputs[0].shape[0] * node.output.shape[0] for node in resized)
    share = weights / study.account.totals.parameters
    take = "projection takes" if len(resized) == 1 else "projections take"
    projections = f"; {len(resized)} {take} {weights:,} weights more, {share:.1%}" if resized else ""
    yield Case(
        where=tuple(node.path for node in chain),
        text=f"{several(len(chain), 'convolution')} in a chain, with no way around any of them",
        evidence={"layers": len(chain), "most": LONG - 1},
        remedy=Remedy(f"put a shortcut around each two of these convolutions{projections}"),
    )
