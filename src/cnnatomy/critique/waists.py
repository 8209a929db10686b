"""The rule about narrow places that all information passes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from itertools import groupby, takewhile
from math import ceil
from typing import NamedTuple

from cnnatomy.analysis.cuts import Cut, waists
from cnnatomy.critique.information import FEW_FEATURES, tells_classes_apart
from cnnatomy.critique.rule import Case, rule
from cnnatomy.critique.scaling import channels_last, expansions, times
from cnnatomy.critique.study import Study, depthwise, made_by
from cnnatomy.design.graph import FeatureMap, Node
from cnnatomy.edits.change import Remedy
from cnnatomy.layers import Conv, FullyConnected
from cnnatomy.layers.layer import Layer, dimensions, elements
from cnnatomy.layers.training import NORMALISATIONS

DESIGNED, WAIST, SLIGHT = 8, 4, 3
"""Times as wide as a bottleneck by design its neighbours may be: the largest expansion of MobileNets and their kin, the
squeeze of SqueezeNet; how much makes a waist elsewhere: the bottleneck of a ResNet without its shortcut; and how much
is worth a word for whoever asks: half of what lies beside it is half as much again."""


@rule(
    "I5",
    "narrow-waist",
    "warning",
    "lecture 001, 'Feature Map Size' and 'Parallel – SqueezeNet'; Szegedy et al. 2015, 'Rethinking the Inception "
    "Architecture', section 2; Sandler et al. 2018, section 3.2",
)
def narrow_waist(study: Study) -> Iterator[Case]:
    """A place that all information passes and that is a quarter as wide, or less, as what lies on both sides of it.

    "Need to track feature map data size as it flows through the network to make sure that there are no information
    killing bottlenecks": a wide map after a narrow one holds no more than the narrow one did. Compared are the channels
    that all information passes, with those of their neighbours at the same resolution and across one down-sampling;
    every cut of the graph counts, so a shortcut, a dense connection or a parallel branch takes information around a
    narrow layer. Leaving its nonlinearity out does not open a waist: 4 channels stay 4. Bottlenecks by design are left
    alone: the linear ones between expansions, as MobileNet V2 has them, unless the bottlenecks before and after are 4
    times as wide. Said only where they are asked for are waists between neighbours of 3 to 4 times the width, and the
    squeeze layers of SqueezeNet, which feed parallel branches at an eighth and "create an information bottleneck" on
    purpose, for few parameters; a bypass around the module (SqueezeNet, section 6) removes it. What gives back an image
    of the input's shape may pass through as little as it likes.
    """
    found, few = _waists(study), _fewer_than_classes(study)
    if few is not None:
        same = [waist for waist in found if few.where[0] in waist.where]
        if any(few.quiet or not waist.quiet for waist in same):
            few = None  # what opens the waist gives it more values
        else:
            found = [waist for waist in found if waist not in same]
    input = elements(study.account.input)
    for quiet in (False, True):
        those = [waist for waist in found if waist.quiet == quiet]
        if those:
            worst = max(those, key=lambda waist: waist.factor)
            yield Case(
                where=tuple(dict.fromkeys(path for waist in those for path in waist.where)),
                text=f"all information passes {_values(worst.cut)}, between {worst.before:,} channels before and "
                f"{worst.after:,} after",
                evidence={
                    "narrowest": worst.width,
                    "before": worst.before,
                    "after": worst.after,
                    "values": worst.cut.volume,
                    "input": input,
                    "places": len(those),
                },
                remedy=_opened(study, those),
                quiet=quiet,
            )
    if few is not None:
        yield few


class _Narrow(NamedTuple):
    """A waist: a cut that is much narrower than its neighbours.

    Attributes:
        cut: the maps.
        row: the channels of it and of the cuts next to it that are narrow too.
        before: channels of the nearest cut before it that makes it a waist.
        after: likewise after it.
        quiet: whether it is one that designers choose.
    """

    cut: Cut
    row: tuple[Cut, ...]
    before: int
    after: int
    quiet: bool = False

    @property
    def width(self) -> int:
        """Channels of the narrowest."""
        return min(cut.volume for cut in self.row)

    @property
    def factor(self) -> float:
        return min(self.before, self.after) / self.width

    @property
    def where(self) -> tuple[str, ...]:
        """The layers that make the maps, the first of each cut."""
        makers = [made_by(x, Conv, FullyConnected) for cut in self.row for x in cut.maps[:1]]
        return tuple(dict.fromkeys(node.path for node in makers if node is not None)) or (_path(self.cut),)


def _waists(study: Study) -> list[_Narrow]:
    """The waists before the classifier, among the cuts of a resolution and the nearest single map on either side."""
    if study.output.shape == study.graph.inputs[0].shape:
        return []
    end = study.depth(study.classifier.output) if study.classifier else None
    left_out = channels_last(study) | expansions(study)
    compared = [
        cut
        for cut in study.cuts
        if left_out.isdisjoint(cut.maps) and (end is None or max(map(study.depth, cut.maps)) < end)
    ]
    runs = [(size, list(run)) for size, run in groupby(compared, _resolution)]
    nothing: tuple[None, list[Cut]] = (None, [])
    found: list[_Narrow] = []
    for before, (size, run), after in zip([nothing, *runs], runs, [*runs[1:], nothing], strict=False):
        if size is None:
            continue
        beside = [
            [cut for cut in cuts if len(cut.maps) == 1] if other and len(other) == len(size) == 2 else []
            for other, cuts in (before, after)
        ]
        inner = {cut.maps: cut for cut in run}
        cuts = _in_channels([*beside[0][-1:], *run, *beside[1][:1]])
        narrow = _narrow(cuts, inner)
        linear = [waist for waist in narrow if waist.factor < DESIGNED and _linear(study, waist.cut)]
        found += [waist for waist in narrow if waist not in linear]
        if linear:  # bottlenecks between expansions, which are compared with one another
            trunk = _narrow([cut for cut in cuts if _linear(study, cut)], inner)
            found += [waist for waist in trunk if waist.factor >= WAIST and waist.cut in [one.cut for one in linear]]
    return [waist._replace(quiet=_by_design(study, waist)) for waist in found]


def _by_design(study: Study, waist: _Narrow) -> bool:
    """Whether it is one that designers choose: not much narrower than what lies beside it, or before branches."""
    return waist.factor < WAIST or (waist.factor <= DESIGNED and _feeds_branches(study, waist.cut))


def _in_channels(cuts: list[Cut]) -> list[Cut]:
    """Cuts with channels for volumes; branches side by side carry no more than the wider of the maps around them."""
    found = []
    for i, cut in enumerate(cuts):
        around = [next((one for one in side if len(one.maps) == 1), cut) for side in (cuts[i::-1], cuts[i:])]
        found.append(Cut(cut.maps, min(_channels(cut), max(map(_channels, around)))))
    return found


def _narrow(cuts: list[Cut], inner: Mapping[tuple[FeatureMap, ...], Cut]) -> list[_Narrow]:
    """The waists among cuts that are given in channels, each with the narrow ones next to it, those of `inner`."""
    found = []
    for cut, before, after in waists(cuts):
        if cut.maps in inner and SLIGHT * cut.volume <= min(before, after):
            i, width = cuts.index(cut), min(before, after)
            row = tuple(one for one in _row(cuts, i, width) if one.maps in inner)
            least = cut.volume * (WAIST if WAIST * cut.volume <= width else SLIGHT)
            before, after = (
                next(one.volume for one in side if one.volume >= least) for side in (cuts[i::-1], cuts[i:])
            )
            found.append(_Narrow(inner[cut.maps], row, before, after))
    return found


def _row(cuts: list[Cut], i: int, width: int) -> list[Cut]:
    """A cut and those next to it, as long as they are narrow beside this width."""
    sides = (cuts[i::-1], cuts[i + 1 :])
    before, after = (list(takewhile(lambda cut: SLIGHT * cut.volume <= width, side)) for side in sides)
    return before[::-1] + after


def _resolution(cut: Cut) -> tuple[int, ...] | None:
    """Rows and columns of the maps of a cut, length of its sequences; None where they differ."""
    sizes = {x.shape[1:] if len(x.shape) == 3 else x.shape[:-1] for x in cut.maps}
    size = next(iter(sizes)) if len(sizes) == 1 else None
    return () if size == (1, 1) else size


def _channels(cut: Cut) -> int:
    return sum(x.shape[0] if len(x.shape) == 3 else x.shape[-1] for x in cut.maps)


def _linear(study: Study, cut: Cut) -> bool:
    """Whether no map of a cut goes, perhaps normalised, into a nonlinearity that leaves no negative values."""
    for x in cut.maps:
        reader = next((node for node in study.followers(x) if not isinstance(node.layer, NORMALISATIONS)), None)
        after = x if reader is None or study.rows[reader].weights else reader.output
        if study.intervals[after].low >= 0:
            return False
    return True


def _feeds_branches(study: Study, cut: Cut) -> bool:
    """Whether what a cut holds is read, once it is normalised and rectified, by several layers with weights."""
    x = cut.maps[0]
    while (reader := study.only_reader(x)) is not None and not isinstance(reader.layer, Conv):
        x = reader.output
    return len(cut.maps) == 1 and sum(study.rows[node].weights > 0 for node in study.readers[x]) > 1


def _opened(study: Study, found: list[_Narrow]) -> list[Remedy]:
    """The convolutions of these cuts as wide as half of the narrower side, or a way around them."""
    layers: dict[Node, tuple[Layer, ...]] = {}
    said: list[str] = []
    for waist in found:
        half = ceil(min(waist.before, waist.after) / 2)
        for cut in waist.row:
            for x in cut.maps:
                node = made_by(x, Conv, FullyConnected)
                if node is None or node in layers or depthwise(node):
                    continue
                is_conv = isinstance(node.layer, Conv)
                factor = Fraction(half, cut.volume)
                groups = node.layer.groups if isinstance(node.layer, Conv) else 1
                width = ceil(times(node.output.shape[0 if is_conv else -1], factor) / groups) * groups
                layers[node] = (node.layer.replace(**{"channels" if is_conv else "features": width}),)
                said.append(f"{node.path} to {width:,}")
    them = "it" if len(said) < 2 else "them"
    text = f"widen {', '.join(said) or 'it'}, half of what lies beside {them}"
    opened = study.remedy(text, layers) if layers else Remedy(text)
    if any(waist.before != waist.after and not waist.quiet for waist in found):
        return [opened]  # a shortcut would need a projection
    return [opened, Remedy("put a shortcut around " + ("it" if len(found) == 1 else "each"))]


def _fewer_than_classes(study: Study) -> Case | None:
    """A cut before the classifier's own input that holds fewer values than there are classes."""
    classifier, classes = study.classifier, study.classes
    if classifier is None or not classes or study.task != "classification":
        return None
    features = elements(classifier.inputs[0].shape)
    before = [cut for cut in study.cuts if study.depth(cut.maps[0]) < study.depth(classifier.output)]
    cut = min(before, key=lambda cut: cut.volume, default=None)
    if cut is None or cut.volume >= min(classes, features) or not tells_classes_apart(study, classifier):
        return None
    return Case(
        where=(_path(cut),),
        text=f"all information passes {_values(cut)}, for {classes:,} classes",
        evidence={"narrowest": cut.volume, "classes": classes},
        remedy=Remedy(f"give {_path(cut)} at least {classes:,} values"),
        severity="note" if FEW_FEATURES * cut.volume >= classes else None,
        quiet=2 * cut.volume >= classes,
        under=("I1", "I3", "I8", "I7"),
    )


def _path(cut: Cut) -> str:
    return next((x.node.path for x in cut.maps if x.node is not None), "input")


def _values(cut: Cut) -> str:
    shapes = " and ".join(dimensions(x.shape) for x in cut.maps)
    return f"{_path(cut)}: {shapes} = {cut.volume:,} values"
