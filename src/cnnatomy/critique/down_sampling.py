"""The rule about what a down-sampling loses."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import dropwhile, groupby, islice
from typing import NamedTuple

from cnnatomy.analysis.cuts import waists
from cnnatomy.critique.rule import Case, rule
from cnnatomy.critique.study import Study, made_by, pixels
from cnnatomy.design.graph import FeatureMap, Node
from cnnatomy.edits.change import Remedy
from cnnatomy.layers import Conv
from cnnatomy.layers.layer import Layer, dimensions, elements

TAIL_LOSS, CAPPED, ROUNDED, FALLEN = 4, 512, 0.99, 1.5
"""How much a stride of 2 may lose of the image itself, as neighbouring pixels say nearly the same; the channels at
which widths stay as they are; what part of a loss counts as all of it; and how much more shows a falling width."""

CAUSES = ("I8", "I7", "I3", "C6")
"""Rules of what makes a down-sampling lose much: widths that fall or stay, too many strides, too large ones."""


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
    input are left out, and so is the pool before a head, which may take as little as it likes.

    Said only where they are asked for are channels that grow after the pool, as that order takes fewer MACs (AlexNet,
    MobileNet V1), and most losses: those that leave more than 1/4, as the width has grown, if by less than 2, and those
    that leave 1/4 of the image itself, whose neighbouring pixels say nearly the same; those at 512 channels, where
    widths stay as they are; those after which the features grow at once (DenseNet compresses on purpose); and those
    where twice the channels would be more than this level and the next have, unless they take half as much again.
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
                under=CAUSES if quiet else (*CAUSES, "S5"),
            )
    if early:
        worst = max(early, key=lambda place: place.later / place.volume)
        yield Case(
            where=tuple(place.path for place in early),
            text=f"{worst.path} leaves {worst.values}; only after it do the features grow to {worst.later:,}",
            evidence={"before": worst.before, "after": worst.volume, "later": worst.later},
            remedy=_widened(study, early),
            quiet=True,
            under=CAUSES,
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
        node = made_by(place.map, Conv)
        if node is not None and isinstance(node.layer, Conv):
            channels = 2 * node.layer.channels
            layers[node] = (node.layer.replace(channels=channels),)
            said.append(f"{node.path} to {channels:,}")
    text = "widen the channels before the down-sampling"
    return study.remedy(f"{text}: {', '.join(said)}", layers) if layers else Remedy(text)
