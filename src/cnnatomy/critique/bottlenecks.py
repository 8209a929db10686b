"""Rules about bottlenecks: the places that all information passes, and how narrow they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from itertools import dropwhile, groupby, islice
from math import ceil
from typing import NamedTuple

from cnnatomy.analysis.cuts import Cut, waists
from cnnatomy.critique.information import FEW_FEATURES, tells_classes_apart
from cnnatomy.critique.rule import Case, rule
from cnnatomy.critique.scaling import channels_last, expansions, times
from cnnatomy.critique.study import Study, depthwise, pixels
from cnnatomy.design.graph import FeatureMap, Node
from cnnatomy.edits.change import Remedy
from cnnatomy.layers import Conv, FullyConnected
from cnnatomy.layers.layer import Layer, dimensions, elements
from cnnatomy.layers.training import NORMALISATIONS

TAIL_LOSS, CAPPED, ROUNDED, FALLEN = 4, 512, 0.99, 1.5
"""How much a stride of 2 may lose of the image itself, as neighbouring pixels say nearly the same; the channels at
which widths stay as they are; what part of a loss counts as all of it; and how much more shows a falling width."""

DESIGNED, WAIST, SLIGHT = 8, 4, 3
"""Times as wide as a bottleneck by design its neighbours may be: the largest expansion of MobileNets and their kin, the
squeeze of SqueezeNet; how much makes a waist elsewhere: the bottleneck of a ResNet without its shortcut; and how much
is worth a word for whoever asks: half of what lies beside it is half as much again."""


@rule(
    "I4",
    "lossy-down-sampling",
    "note",
    "lecture 001, 'Body: Weak Features To Strong Features' and 'Personal Notes For Vision Optimized CNNs'; "
    "Szegedy et al. 2015, 'Rethinking the Inception Architecture', sections 2 and 5",
)
def lossy_down_sampling(study: Study) -> Iterator[Case]:
    """Down-sampling that shrinks the features by more than 2, or that comes before the channels grow.

    What a down-sampling loses cannot come back (data processing inequality): "expand channel by 2 then down sample so
    no excess information bottleneck". With "reduce the rows and cols both by 2, increase the channels by 2" the volume
    halves; channels that grow only after the pool carry no more than the pool let through. The comparison is with the
    narrowest place before, so that a block that widens to pool is not blamed. Places that hold no fewer values than the
    input are left out, and so is the pool before a head, which may take as little as it likes. The other order costs
    MACs, which is why AlexNet and MobileNet V1 have this one, and DenseNet compresses on purpose: it is said only where
    it is asked for, as are losses where the width has grown, if by less than 2 (1/4 is left where it has not), of up to
    1/4 of the image itself, whose neighbouring pixels say nearly the same, those of a width that has grown to 512
    channels and stays, and those where twice the channels would be more than the next level has, or where the features
    grow right after it.
    """
    lossy = _lossy(study)
    shrinking = [place for place in lossy if place.shrinks > place.usual]
    early = [place for place in lossy if place not in shrinking]
    large = [place for place in shrinking if place.large]
    for places, quiet in ((large, False), ([place for place in shrinking if place not in large], True)):
        if places:
            worst = max(places, key=lambda place: place.shrinks)
            yield Case(
                where=tuple(place.path for place in places),
                text=f"{worst.path} leaves {worst.values} of the {worst.before:,} that came through the narrowest "
                f"place before, 1/{worst.before / worst.volume:.1f}; 1/2 is usual"
                f"{'' if worst.usual <= 2 else ' for each halving of the sides'}",
                evidence={
                    "before": worst.before,
                    "after": worst.volume,
                    "shrinks": worst.before / worst.volume,
                    "usual": worst.usual,
                },
                remedy=_widened(study, places),
                quiet=quiet,
                under=("I8", "I7", "I3", "C6") if quiet else ("I8", "I7", "I3", "C6", "S5"),
            )
    if early:
        worst = max(early, key=lambda place: place.later / place.volume)
        yield Case(
            where=tuple(place.path for place in early),
            text=f"{worst.path} leaves {worst.values}; only after it do the features grow to {worst.later:,}",
            evidence={"before": worst.before, "after": worst.volume, "later": worst.later},
            remedy=_widened(study, early),
            quiet=True,
            under=("I8", "I7", "I3", "C6"),
        )


class _Place(NamedTuple):
    """A down-sampling that all information passes.

    Attributes:
        map: what it gives.
        volume: elements of it.
        before: elements of the narrowest such place before, the input included.
        later: elements of the widest one after it, up to where one as narrow comes.
        shrinks: before / volume, less what odd sizes lose by being rounded down.
        usual: what it may shrink by: 2 for a stride of 2.
        first: whether nothing before it holds fewer values than the input.
        room: the most channels at its resolution and at the next, where it shrinks too much.
    """

    map: FeatureMap
    volume: int
    before: int
    later: int
    shrinks: float
    usual: float
    first: bool
    room: int

    @property
    def path(self) -> str:
        return self.map.node.path if self.map.node else ""

    @property
    def large(self) -> bool:
        """Whether it loses so much that it matters."""
        channels = self.map.shape[0]
        much = self.usual * TAIL_LOSS / 2 if self.first else ROUNDED * self.usual**2
        fits = 2 * channels <= self.room or self.shrinks > FALLEN * much
        return self.shrinks > much and channels < CAPPED and fits and self.later < 2 * self.volume

    @property
    def values(self) -> str:
        return f"{dimensions(self.map.shape)} = {self.volume:,} values"


def _lossy(study: Study) -> list[_Place]:
    """The down-samplings that hold fewer values than the input and shrink too much, or come too early."""
    input = narrowest = elements(study.account.input)
    single = [cut for cut in study.cuts if len(cut.maps) == 1]
    wide = {waist.cut: waist.after for waist in waists(single)}
    end = study.depth(study.last_map)
    found: list[_Place] = []
    previous = study.graph.inputs[0]
    for cut in single:
        x = cut.maps[0]
        if len(x.shape) == len(previous.shape) == 3:
            if 1 < pixels(x.shape) < pixels(previous.shape) and cut.volume < input and study.depth(x) < end:
                stride = [max(1, round(n / m)) for n, m in zip(previous.shape[1:], x.shape[1:], strict=True)]
                even = pixels(previous.shape) / (pixels(x.shape) * stride[0] * stride[1])
                usual = max(2.0, (stride[0] * stride[1]) ** 0.5)
                later = wide.get(cut, 0)
                shrinks = narrowest / cut.volume / max(1, even)
                room = _room(study, x) if shrinks > usual else 0
                place = _Place(x, cut.volume, narrowest, later, shrinks, usual, narrowest == input, room)
                if place.shrinks > usual or later >= 2 * cut.volume:
                    found.append(place)
            previous = x
        narrowest = min(narrowest, cut.volume)
    return found


def _room(study: Study, place: FeatureMap) -> int:
    """The most channels of a map at the resolution of this one and at the next, from this one on."""
    rest = dropwhile(lambda x: x is not place, study.spine)
    levels = groupby((x for x in rest if len(x.shape) == 3 and pixels(x.shape) > 1), lambda x: x.shape[1:])
    return max((x.shape[0] for _, level in islice(levels, 2) for x in level), default=place.shape[0])


def _widened(study: Study, places: list[_Place]) -> Remedy:
    """Twice the channels of the convolutions before these down-samplings."""
    layers: dict[Node, tuple[Layer, ...]] = {}
    said: list[str] = []
    for place in places:
        node = place.map.node
        while node is not None and len(node.inputs) == 1 and not isinstance(node.layer, Conv):
            node = node.inputs[0].node
        if node is not None and isinstance(node.layer, Conv):
            channels = 2 * node.layer.channels
            layers[node] = (node.layer.replace(channels=channels),)
            said.append(f"{node.path} to {channels:,}")
    text = "widen the channels before the down-sampling"
    return study.remedy(f"{text}: {', '.join(said)}", layers) if layers else Remedy(text)


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
    for narrow in (False, True):
        those = [waist for waist in found if waist.quiet == narrow]
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
                quiet=narrow,
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
        makers = [_maker(x) for cut in self.row for x in cut.maps[:1]]
        return tuple(dict.fromkeys(node.path for node in makers if node is not None)) or (_path(self.cut),)


def _waists(study: Study) -> list[_Narrow]:
    if study.output.shape == study.graph.inputs[0].shape:
        return []
    end = study.depth(study.classifier.output) if study.classifier else None
    left_out = channels_last(study) | expansions(study)
    deep = [cut for cut in study.cuts if end is None or max(map(study.depth, cut.maps)) < end]
    deep = [cut for cut in deep if left_out.isdisjoint(cut.maps)]
    runs = [(size, list(run)) for size, run in groupby(deep, _resolution)]
    found: list[_Narrow] = []
    for i, (size, run) in enumerate(runs):
        if size is None:
            continue
        sides = [
            [cut for other, cuts in runs[j : j + 1] if other and len(other) == len(size) == 2 for cut in cuts]
            for j in (max(0, i - 1) if i else len(runs), i + 1)
        ]
        before, after = [[cut for cut in cuts if len(cut.maps) == 1] for cuts in sides]
        inner = {cut.maps: cut for cut in run}
        cuts = _in_channels([*before[-1:], *run, *after[:1]])
        narrow = _narrow(cuts, inner)
        linear = [waist for waist in narrow if waist.factor < DESIGNED and _linear(study, waist.cut)]
        found += [waist for waist in narrow if waist not in linear]
        if linear:  # bottlenecks between expansions, which are compared with one another
            trunk = _narrow([cut for cut in cuts if _linear(study, cut)], inner)
            found += [waist for waist in trunk if waist.factor >= WAIST and waist.cut in [one.cut for one in linear]]
    return [waist._replace(quiet=_by_design(study, waist)) for waist in found]


def _by_design(study: Study, waist: _Narrow) -> bool:
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
            row: list[Cut] = []
            for one in cuts:
                if SLIGHT * one.volume <= min(before, after):
                    row.append(one)
                elif cut in row:
                    break
                else:
                    row = []
            least = cut.volume * (WAIST if WAIST * cut.volume <= min(before, after) else SLIGHT)
            i = cuts.index(cut)
            before, after = (
                next(one.volume for one in side if one.volume >= least) for side in (cuts[i::-1], cuts[i:])
            )
            row = [one for one in row if one.maps in inner]
            found.append(_Narrow(inner[cut.maps], tuple(row), before, after))
    return found


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
        reader = study.only_reader(x)
        while reader is not None and isinstance(reader.layer, NORMALISATIONS):
            reader = study.only_reader(reader.output)
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


def _maker(x: FeatureMap) -> Node | None:
    """The convolution or linear layer that makes a map, perhaps normalised, rectified or pooled after it."""
    node = x.node
    while node is not None and len(node.inputs) == 1 and not isinstance(node.layer, (Conv, FullyConnected)):
        node = node.inputs[0].node
    return node if node is not None and isinstance(node.layer, (Conv, FullyConnected)) else None


def _opened(study: Study, found: list[_Narrow]) -> list[Remedy]:
    """The convolutions of these cuts as wide as half of the narrower side, or a way around them."""
    layers: dict[Node, tuple[Layer, ...]] = {}
    said: list[str] = []
    for waist in found:
        half = ceil(min(waist.before, waist.after) / 2)
        for cut in waist.row:
            for x in cut.maps:
                node = _maker(x)
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
