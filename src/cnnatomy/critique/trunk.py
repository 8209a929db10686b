"""Rules about the trunk of residual networks: what stands before an addition, and what after it."""

from __future__ import annotations

from collections.abc import Iterator

from cnnatomy.critique.normalisation import CONVOLUTIONS
from cnnatomy.critique.ranges import PRE_ACTIVATION, RECTIFIERS, is_idle
from cnnatomy.critique.rule import Case, rule, several
from cnnatomy.critique.study import Study, pixels
from cnnatomy.critique.ways import comes_from, leads_to
from cnnatomy.design.graph import FeatureMap, Node
from cnnatomy.edits.change import Remedy
from cnnatomy.layers import Add, AvgPool, BatchNorm, Dropout, Layer, MaxPool, Multiply, PadChannels, Subsample
from cnnatomy.layers.layer import ELEMENT

DEEP, MANY = 50, 8
"""Layers and additions from which what stands on the trunk costs accuracy: He et al. 2016 measured it at 110 layers
with 54 additions; at 20 layers it is noise."""
PRE_ACTIVATED = 100
"""Layers from which pre-activation is the better remedy."""
ON_SHORTCUTS = (BatchNorm, Dropout, AvgPool, MaxPool, Subsample, PadChannels)
"""What a shortcut may pass beside nonlinearities and still be one without weights of its own."""


@rule(
    "N8",
    "relu-before-addition",
    "warning",
    "He et al. 2016, 'Identity Mappings in Deep Residual Networks', section 4.1, figure 4c and table 2",
)
def relu_before_addition(study: Study) -> Iterator[Case]:
    """A residual branch that ends in a ReLU, so that the sum can only grow.

    A residual should be able to take away as well as to add: with a ReLU as the last layer of the branch the values
    rise from block to block. The authors of ResNet measured 7.84 % errors in place of 6.61 % with 110 layers on
    CIFAR-10. With 20 layers no difference was measured, so that it is a note in networks of less than 50 layers or 8
    such additions. Where a ReLU follows on the addition too, that one changes nothing, which is a warning at any depth.

    The ReLU belongs after the addition, as in ResNet, or, in networks of 100 layers and more, before the convolutions:
    pre-activation. An addition that joins a decoder to its encoder (LinkNet) is no residual.
    """
    found: dict[Node, Node] = {}
    for node in study.graph.nodes:
        for x in node.inputs if isinstance(node.layer, Add) else ():
            last = _last_rectifier(study, x)
            if last is not None and _adds_to_its_source(study, node, x, last):
                found[last] = node
    if not found:
        return
    total = len([node for node in study.graph.nodes if _is_residual(study, node)])
    after = {add: study.only_reader(add.output) for add in found.values()}
    rectified = {add: node for add, node in after.items() if node is not None and isinstance(node.layer, RECTIFIERS)}
    idle = [node for node in rectified.values() if is_idle(study, node)]
    moved: dict[Node, tuple[Layer, ...]] = dict.fromkeys(found, ())
    moved |= {add: (add.layer, last.layer) for last, add in found.items() if add not in rectified}
    relus = several(len(found), "ReLU")
    text = f"move {relus} from before the addition to after it"
    if len(rectified) == len(after):
        text = f"leave {relus} before the addition out"
    deep = study.account.depth >= PRE_ACTIVATED
    move = study.remedy(text, moved, fix=None if deep else "unsafe")
    yield Case(
        where=tuple(node.path for node in found),
        text=f"{len(after)} of {several(total, 'residual')} add a branch that ends in a ReLU: the sum can only grow"
        + (f", and {several(len(idle), 'ReLU')} after it can change nothing" if idle else ""),
        evidence={"additions": len(after), "of": total, "layers": len(found), "idle": len(idle)},
        remedy=[Remedy(PRE_ACTIVATION), move] if deep else move,
        severity=None if idle or _matters(study, len(after)) else "note",
    )


def _matters(study: Study, additions: int) -> bool:
    return study.account.depth >= DEEP and additions >= MANY


def _last_rectifier(study: Study, x: FeatureMap) -> Node | None:
    """The ReLU that a map comes from, with at most dropout and a gate after it, if no other layer reads it."""
    node = x.node
    while node is not None and isinstance(node.layer, (Dropout, Multiply)):
        node = next((y.node for y in node.inputs if y.shape == node.output.shape), None)
    if node is None or not isinstance(node.layer, RECTIFIERS):
        return None
    readers = study.readers[node.output]
    own = all(isinstance(r.layer, (Add, Dropout, Multiply)) or pixels(r.output.shape) == 1 for r in readers)
    return node if own else None


def _is_residual(study: Study, node: Node) -> bool:
    """Whether a node adds what was computed of a map to that map, perhaps projected."""
    return isinstance(node.layer, Add) and any(
        x.node is not None and _adds_to_its_source(study, node, x, x.node) for x in node.inputs
    )


def _adds_to_its_source(study: Study, add: Node, branch: FeatureMap, last: Node) -> bool:
    """Whether the last layer of a branch was made of what the branch is added to."""
    return comes_from(study, last.inputs, _beside(add, branch), pixels(add.output.shape))


def _beside(add: Node, branch: FeatureMap) -> set[FeatureMap]:
    """What an addition adds to a branch, and what that is a projection of: by one convolution, with no nonlinearity."""
    found: set[FeatureMap] = set()
    for x in add.inputs:
        convolved = False
        while x is not branch:
            found.add(x)
            node = x.node
            if node is None or len(node.inputs) > 1:
                break
            convolves = isinstance(node.layer, CONVOLUTIONS)
            if not isinstance(node.layer, ON_SHORTCUTS) and (not convolves or convolved):
                break
            convolved, x = convolved or convolves, node.inputs[0]
    return found


@rule(
    "N11",
    "batch-norm-after-addition",
    "warning",
    "He et al. 2016, 'Identity Mappings in Deep Residual Networks', section 4.1, figure 4b and table 2",
)
def batch_norm_after_addition(study: Study) -> Iterator[Case]:
    """Batch norm on the trunk, after the addition: it scales what the shortcut passes on, at every block.

    A shortcut lets signals and gradients through unchanged; a batch norm after each addition multiplies both again and
    again. The authors of ResNet measured 8.17 % errors in place of 6.61 % with 110 layers on CIFAR-10. With 20 layers
    no difference was measured, so that it is a note in networks of less than 50 layers or 8 such additions.

    No objection is a batch norm at the start of a pre-activated branch, for the shortcut goes around it, nor one that
    is a branch of its own, as in RepVGG, nor the last one before the head, nor layer norm as transformers have it.
    """
    norms = [node for node in study.graph.nodes if isinstance(node.layer, BatchNorm)]
    found = {node: add for node in norms if (add := _normalised_addition(study, node))}
    shortcuts = leads_to(study, _is_addition, _is_on_shortcuts) if found else {}
    if not any(shortcuts[node.output] for node in found):
        return
    later = leads_to(study, _is_addition)
    found = {node: add for node, add in found.items() if later[node.output]}
    changes: dict[Node, tuple[Layer, ...]] = dict.fromkeys(found, ())
    for add in found.values():
        for x in add.inputs:
            if x.node is not None and isinstance(x.node.layer, CONVOLUTIONS) and study.only_reader(x) is add:
                changes[x.node] = (x.node.layer.replace(bias=False), BatchNorm())
    total = sum(isinstance(node.layer, Add) for node in study.graph.nodes)
    yield Case(
        where=tuple(node.path for node in found),
        text=f"{several(len(found), 'batch norm')} on the trunk, after {len(found)} of {several(total, 'addition')}: "
        "each scales what shortcuts pass",
        evidence={"layers": len(found), "of": total, "depth": study.account.depth},
        remedy=study.remedy(
            "end the branches in batch norm, before the addition, and leave out "
            f"{several(len(found), 'batch norm')} after it",
            changes,
            fix="unsafe",
        ),
        severity=None if _matters(study, len(found)) else "note",
    )


def _normalised_addition(study: Study, node: Node) -> Node | None:
    """The addition whose sum, rectified or not, nobody reads but this batch norm."""
    reader, x = node, node.inputs[0]
    while x.node is not None and isinstance(x.node.layer, (Add, *RECTIFIERS)) and study.only_reader(x) is reader:
        if isinstance(x.node.layer, Add):
            return x.node
        reader, x = x.node, x.node.inputs[0]
    return None


def _is_addition(node: Node) -> bool:
    return isinstance(node.layer, Add)


def _is_on_shortcuts(node: Node) -> bool:
    return node.layer.kind == ELEMENT or isinstance(node.layer, ON_SHORTCUTS)
