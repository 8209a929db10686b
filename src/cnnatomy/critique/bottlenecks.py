"""Rules about bottlenecks: the places that all information passes, and how narrow they are."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from math import ceil
from typing import NamedTuple

from cnnatomy.analysis.cuts import Cut, Waist, waists
from cnnatomy.critique.information import tells_classes_apart
from cnnatomy.critique.rule import Case, rule
from cnnatomy.critique.study import Study, pixels
from cnnatomy.design.graph import FeatureMap, Node
from cnnatomy.edits.change import Remedy
from cnnatomy.layers import Conv
from cnnatomy.layers.layer import Layer, dimensions, elements
from cnnatomy.layers.training import NORMALISATIONS


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
    halves; channels that grow only after the pool carry no more than the pool let through. The comparison is
    with the narrowest place before, so that a block that widens to pool is not blamed. Places that hold no fewer values
    than the input are left out, and so is the pool before a head, which may take as little as it likes. The other order
    costs MACs, which is why AlexNet and MobileNet V1 have this one, and DenseNet compresses on purpose.
    """
    lossy = _lossy(study)
    shrinking = [place for place in lossy if place.shrinks > place.usual]
    early = [place for place in lossy if place not in shrinking]
    if shrinking:
        worst = max(shrinking, key=lambda place: place.shrinks)
        text = (
            f"{worst.path} leaves {worst.values} of the {worst.before:,} that came through the narrowest place before"
        )
        yield Case(
            where=tuple(place.path for place in shrinking),
            text=f"{text}, 1/{worst.before / worst.volume:.1f}; 1/{worst.usual:g} is usual",
            evidence={
                "before": worst.before,
                "after": worst.volume,
                "shrinks": worst.before / worst.volume,
                "usual": worst.usual,
            },
            remedy=_widened(study, shrinking),
        )
    if early:
        worst = max(early, key=lambda place: place.later / place.volume)
        yield Case(
            where=tuple(place.path for place in early),
            text=f"{worst.path} leaves {worst.values}; only after it do the features grow to {worst.later:,}",
            evidence={"before": worst.before, "after": worst.volume, "later": worst.later},
            remedy=_widened(study, early),
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
    """

    map: FeatureMap
    volume: int
    before: int
    later: int
    shrinks: float
    usual: float

    @property
    def path(self) -> str:
        return self.map.node.path if self.map.node else ""

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
                place = _Place(x, cut.volume, narrowest, later, narrowest / cut.volume / max(1, even), usual)
                if place.shrinks > usual or later >= 2 * cut.volume:
                    found.append(place)
            previous = x
        narrowest = min(narrowest, cut.volume)
    return found


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
    """A place that all information passes and that is less than half as wide as what lies on both sides of it.

    "Need to track feature map data size as it flows through the network to make sure that there are no information
    killing bottlenecks": a wide map after a narrow one holds no more than the narrow one did. Every cut of the graph
    counts, so a shortcut, a dense connection or a parallel branch takes information around a narrow layer. Compared
    are places of equal resolution that hold fewer values than the input. SqueezeNet's squeeze layers "create an
    information bottleneck" on purpose, for few parameters; a bypass around the module (SqueezeNet, section 6) removes
    it. A linear bottleneck, without a nonlinearity on the narrow map, loses nothing but dimensions that the features
    do not fill (MobileNet V2), and is left alone.
    """
    found = [waist for waist in _waists(study) if min(waist.before, waist.after) > 2 * waist.cut.volume]
    found = [waist for waist in found if _rectified(study, waist.cut)]
    input = elements(study.account.input)
    if found:
        worst = max(found, key=lambda waist: min(waist.before, waist.after) / waist.cut.volume)
        yield Case(
            where=tuple(_path(waist.cut) for waist in found),
            text=f"all information passes {_values(worst.cut)}, between {worst.before:,} before and {worst.after:,} "
            f"after; the input has {input:,}",
            evidence={
                "narrowest": worst.cut.volume,
                "before": worst.before,
                "after": worst.after,
                "input": input,
                "places": len(found),
            },
            remedy=_opened(study, found),
        )
    yield from _fewer_than_classes(study)


def _waists(study: Study) -> list[Waist]:
    """The waists within each run of cuts of equal resolution."""
    input = elements(study.account.input)
    runs = groupby(study.cuts, lambda cut: {pixels(x.shape) for x in cut.maps})
    return [waist for _, run in runs for waist in waists(list(run)) if waist.cut.volume < input]


def _rectified(study: Study, cut: Cut) -> bool:
    """Whether every map of a cut goes, perhaps normalised, into a nonlinearity that leaves no negative values."""
    for x in cut.maps:
        reader = study.only_reader(x)
        while reader is not None and isinstance(reader.layer, NORMALISATIONS):
            reader = study.only_reader(reader.output)
        after = x if reader is None or study.rows[reader].weights else reader.output
        if study.intervals[after].low < 0:
            return False
    return True


def _opened(study: Study, found: list[Waist]) -> Remedy:
    """The convolutions of these cuts as wide as half of the narrower side."""
    layers: dict[Node, tuple[Layer, ...]] = {}
    for waist in found:
        factor = ceil(min(waist.before, waist.after) / (2 * waist.cut.volume))
        for x in waist.cut.maps:
            if x.node is not None and isinstance(x.node.layer, Conv):
                layers[x.node] = (x.node.layer.replace(channels=factor * x.node.layer.channels),)
    text = "widen them to half of what lies beside them; or put a shortcut around each, or leave its nonlinearity out"
    return study.remedy(text, layers) if layers else Remedy(text)


def _fewer_than_classes(study: Study) -> Iterator[Case]:
    """A cut before the classifier's own input that holds fewer values than there are classes."""
    classifier, classes = study.classifier, study.classes
    if classifier is None or not classes or study.task != "classification":
        return
    features = elements(classifier.inputs[0].shape)
    before = [cut for cut in study.cuts if study.depth(cut.maps[0]) < study.depth(classifier.output)]
    cut = min(before, key=lambda cut: cut.volume, default=None)
    if cut is None or cut.volume >= min(classes, features) or not tells_classes_apart(study, classifier):
        return
    yield Case(
        where=(_path(cut),),
        text=f"all information passes {_values(cut)}, for {classes:,} classes",
        evidence={"narrowest": cut.volume, "classes": classes},
        remedy=Remedy(f"give it at least {classes:,} values"),
        severity="note" if 10 * cut.volume**2 >= classes**2 else None,
    )


def _path(cut: Cut) -> str:
    return next((x.node.path for x in cut.maps if x.node is not None), "input")


def _values(cut: Cut) -> str:
    shapes = " and ".join(dimensions(x.shape) for x in cut.maps)
    return f"{_path(cut)}: {shapes} = {cut.volume:,} values"
