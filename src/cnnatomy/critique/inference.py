"""Rules about what belongs to training or to inference alone: probabilities, auxiliary heads, batch norm to fold."""

from __future__ import annotations

from collections.abc import Iterator
from math import e, log

from cnnatomy.critique.linear import WEIGHTED
from cnnatomy.critique.rule import Case, Severity, rule, several
from cnnatomy.critique.study import Study, pixels
from cnnatomy.design import Heads
from cnnatomy.design.graph import FeatureMap, Node, Scope
from cnnatomy.edits.change import Fix
from cnnatomy.layers import BatchNorm, Layer, Sigmoid, Softmax
from cnnatomy.layers.layer import REARRANGEMENT


def from_elsewhere(study: Study) -> bool:
    """Whether a network was read from a module, whose graph alone says what it held, or from an exported file."""
    return bool(study.graph.held) or study.graph.deployed


@rule(
    "W7",
    "softmax-before-loss",
    "error",
    "documentation of torch.nn.CrossEntropyLoss: the input is expected to contain the unnormalized logits",
)
def softmax_before_loss(study: Study) -> Iterator[Case]:
    """A softmax or sigmoid as the output of a network to be trained.

    The cross-entropy loss has a softmax of its own, and of values between 0 and 1 it cannot come near zero. With C
    classes it stays above ln(1 + (C - 1) / e), and gradients vanish where the network is sure and wrong: it cost 7 and
    9 points of accuracy on 4,000 images of Fashion-MNIST. The loss reads the linear classifier; whoever wants
    probabilities takes the softmax of what comes out.

    A warning where the design is a list of nodes, which may be trained or run; a note where the network was read from a
    module, whose loss may be another, and for sigmoids: there are binary losses that read them, but what has a sigmoid
    of its own, as torch's BCEWithLogitsLoss, stays above ln 2 for what is not there. In a file that was exported to be
    run, probabilities are what is wanted.

    Sources disagree: the lectures' slide 'Linear Classifier' ends in "softmax to convert to probabilities (training)",
    and tables of papers have it as a layer. There it is the softmax of the loss; to train with both is the mistake.
    """
    for x in study.graph.outputs:
        node = x.node
        while node is not None and node.layer.kind == REARRANGEMENT and len(node.inputs) == 1:
            node = node.inputs[0].node
        if node is None or not isinstance(node.layer, (Softmax, Sigmoid)):
            continue
        ours = not from_elsewhere(study)
        severity: Severity = "note"
        if ours and isinstance(node.layer, Softmax):
            severity = "error" if study.described else "warning"
        fix: Fix = "safe" if severity == "error" else "unsafe"
        if isinstance(node.layer, Softmax):
            classes = node.output.shape[node.layer.axis]
            least, untrained = log(1 + (classes - 1) / e), log(classes)
            text = f"after it the cross-entropy of {classes:,} classes cannot fall below {least:.2f}; knowing nothing"
            text = f"{text} is {untrained:.2f}" if classes > 1 else "a softmax of one value is 1, whatever the value"
        else:
            classes = node.output.shape[0]
            least = untrained = log(2)
            text = f"after it a binary cross-entropy of logits cannot fall below {least:.2f} for what is not there"
        yield Case(
            where=(node.path,),
            text=text,
            evidence={"classes": classes, "least_loss": least, "untrained_loss": untrained},
            remedy=study.remedy(f"leave {node.path} to the loss", {node: ()}, fix=fix if ours else None),
            severity=severity,
            quiet=study.graph.deployed,
        )


@rule(
    "W8", "auxiliary-heads", "warning", "lecture 000, 'Parallel – Inception V2 And V3'; Szegedy et al. 2014, section 5"
)
def auxiliary_heads(study: Study) -> Iterator[Case]:
    """Auxiliary classifiers that are still there at inference.

    A head on shallower features feeds gradients into the middle of a deep network in training; nothing reads it at
    inference, and it is paid for all the same. Early exits, which stop there when they are sure enough, are meant to
    stay. Where the description says which heads are auxiliary, they are left out in evaluation as they are meant to be:
    that they have to be left out of what is exported is said only with `--pedantic`.
    """
    running = set(study.inference)
    declared = [node for node in study.graph.nodes if node not in running]
    nodes = declared or ([] if _declares_heads(study) else _side_heads(study))
    if not nodes:
        return
    totals = study.account.totals
    parameters = sum(study.rows[node].parameters for node in nodes)
    macs = sum(study.rows[node].macs for node in nodes)
    own = set(nodes)
    heads = [x for x in study.graph.outputs if x.node in own]
    yield Case(
        where=tuple(x.node.path for x in heads if x.node),
        text=f"{several(len(heads), 'head')} on shallower features: {parameters:,} parameters "
        f"({parameters / max(totals.parameters, 1):.0%}) and {macs:,} MACs ({macs / max(totals.macs, 1):.0%})",
        evidence={"heads": len(heads), "parameters": parameters, "macs": macs},
        remedy=study.remedy(
            f"leave {several(len(heads), 'head')} out of what is exported",
            dropped=nodes,
            fix=None if declared else "unsafe",
        ),
        severity="note" if declared else None,
        quiet=bool(declared),
    )


def _declares_heads(study: Study) -> bool:
    heads = [child for child in study.graph.root.children if isinstance(child, Scope)]
    return any(isinstance(scope.block, Heads) for scope in heads)


def _side_heads(study: Study) -> list[Node]:
    """What only outputs of the main output's shape need that branch off a map with pixels before the last one."""
    main, limit = study.output, study.depth(study.last_map)
    found: list[Node] = []
    for x in study.graph.outputs:
        if x is main or x.shape != main.shape or pixels(x.shape) > 1 or study.depth(x) >= study.depth(main):
            continue
        own: dict[Node, None] = {}
        starts: set[FeatureMap] = set()
        waiting = [x]
        while waiting:
            y = waiting.pop()
            if y.node is None or y.node in study.ancestors:
                starts.add(y)
            elif y.node not in own:
                own[y.node] = None
                waiting += y.node.inputs
        if starts and all(pixels(y.shape) > 1 and study.depth(y) < limit for y in starts):
            found += [node for node in own if node not in found]
    return found


@rule(
    "W9",
    "unfolded-batch-norm",
    "note",
    "lecture 001, 'Personal Notes For Vision Optimized CNNs'; Jacob et al. 2018, section 3.2",
)
def unfolded_batch_norm(study: Study) -> Iterator[Case]:
    """Batch norm after a linear layer in a trained network.

    At inference batch norm is one multiplication and one addition to a channel, which the weights of the layer before
    can take in: the same output, one map less to write and read for each. It is asked of trained networks alone, of
    runs and of files exported to be run: a design needs its batch norm to be trained, as does a file exported in
    training mode. Batch norm before the convolution (pre-activation, DenseNet) mostly cannot be folded.
    """
    if not study.purpose.trained and not study.graph.deployed:
        return
    norms = [node for node in study.graph.nodes if isinstance(node.layer, BatchNorm)]
    changes: dict[Node, tuple[Layer, ...]] = {}
    for node in norms:
        before = node.inputs[0].node
        if (
            before is not None
            and isinstance(before.layer, WEIGHTED)
            and len(node.output.shape) != 2
            and study.only_reader(before.output) is node
        ):
            changes |= {before: (before.layer.replace(bias=True),), node: ()}
    if not changes:
        return
    rows = [study.rows[node] for node, layers in changes.items() if not layers]
    maps, buffers = sum(row.feature_map_elements for row in rows), sum(row.buffers for row in rows)
    share = maps / study.account.totals.feature_map_elements
    yield Case(
        where=tuple(row.path for row in rows),
        text=f"{len(rows)} of {several(len(norms), 'batch norm')} can be folded into the layer before: {maps:,} values "
        f"({share:.0%} of all maps) need not be written, {buffers:,} statistics not be stored",
        evidence={"layers": len(rows), "of": len(norms), "elements": maps, "share_of_maps": share, "buffers": buffers},
        remedy=study.remedy(
            f"fold {several(len(rows), 'batch norm')} into the weights before: "
            "torch.nn.utils.fusion.fuse_conv_bn_eval of each pair of the trained network",
            changes,
        ),
    )
