"""Building blocks, and the lectures' four ways to put them together: chain, parallel, dense, residual."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from keyword import iskeyword
from typing import Any, ClassVar, Self, cast

from cnnatomy.design.graph import MODULE_ATTRIBUTES, FeatureMap, check_name
from cnnatomy.errors import UserError, nearest
from cnnatomy.layers import Add, Concat, Layer
from cnnatomy.layers.layer import Value, value


class Block(Value):
    """Layers and blocks composed: a frozen dataclass (use `@value`) whose `__call__` takes and returns feature maps.

    Every call makes a scope: paths and built modules nest as blocks nest.
    """

    stem: ClassVar[str] = ""
    """What a path calls it: `block` in `body.stage1.block2`. Empty: the class name in lower case."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "__call__" in cls.__dict__:
            cls.__call__ = _scoped(cls.__dict__["__call__"])  # type: ignore[method-assign]

    def __call__(self, *maps: Any) -> Any:
        raise NotImplementedError


def _scoped(call: Callable[..., Any]) -> Callable[..., Any]:
    parameters = list(inspect.signature(call).parameters.values())[1:]
    least = sum(p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters)
    most = sys.maxsize if any(p.kind is p.VAR_POSITIONAL for p in parameters) else len(parameters)

    @functools.wraps(call)
    def inside(self: Block, *maps: FeatureMap) -> Any:
        if not maps or not all(isinstance(x, FeatureMap) for x in maps):
            raise UserError(
                f"{type(self).__name__} is a description: call it on feature maps, or build a Network of it"
            )
        if not least <= len(maps) <= most:
            raise UserError(f"{self!r} reads {least} feature map{'s' * (least != 1)}, got {len(maps)}")
        return maps[0].graph.within(self, lambda: call(self, *maps), maps)

    return inside


@value
class Named(Value):
    """A layer or block with the name that it shall have in its path: `Named("fire2", Fire(16, 64))`."""

    name: str
    part: Layer | Block

    def __post_init__(self) -> None:
        if check_name(self.name, "the name of a part") in MODULE_ATTRIBUTES or "." in self.name:
            problem = "contains a dot" if "." in self.name else "is one that torch modules keep for themselves"
            raise UserError(f"the name of a part {problem}, got {self.name!r}: choose another")
        if not isinstance(self.part, (Layer, Block)):
            raise UserError(f"{self.name}: {self.part!r} is not a layer or block")

    def __call__(self, *maps: FeatureMap) -> Any:
        if maps and isinstance(maps[0], FeatureMap):  # if not, the part says so
            maps[0].graph.ask(self.name)
        return self.part(*maps)


Part = Layer | Block | Named


composition = dataclasses.dataclass(frozen=True, repr=False, init=False)
"""Makes a subclass of `Composition` a value; its further fields, all with defaults, are options given by keyword."""


@composition
class Composition(Block):
    """Parts in order, by position, or by keyword where they shall have a name: `Chain(Conv(6, 5), pool=MaxPool(2))`."""

    parts: tuple[Part, ...]

    def __init__(self, *parts: Part, **named: Any) -> None:
        for option in dataclasses.fields(cast(Any, self))[1:]:
            object.__setattr__(self, option.name, named.pop(option.name, option.default))
        everything = parts + tuple(Named(name, part) for name, part in named.items())
        for part in everything:
            if not isinstance(part, (Layer, Block, Named)):
                raise UserError(f"{type(self).__name__}: {part!r} is not a layer or block")
        names = [part.name for part in everything if isinstance(part, Named)]
        if len(set(names)) != len(names):
            raise UserError(f"{type(self).__name__}: two parts have the same name among {', '.join(names)}")
        object.__setattr__(self, "parts", everything)

    def options(self) -> dict[str, Any]:
        """The fields other than the parts."""
        return {option.name: getattr(self, option.name) for option in dataclasses.fields(cast(Any, self))[1:]}

    def _arguments(self) -> Iterator[str]:
        options = self.options()

        def keyword(part: Part) -> bool:
            if not isinstance(part, Named) or part.name in options:
                return False
            return part.name.isidentifier() and not iskeyword(part.name)

        named = len(self.parts)  # the parts from here to the end can be written as keywords
        while named and keyword(self.parts[named - 1]):
            named -= 1
        for i, part in enumerate(self.parts):
            yield f"{part.name}={part.part!r}" if i >= named and isinstance(part, Named) else repr(part)
        for option in dataclasses.fields(cast(Any, self))[1:]:
            if getattr(self, option.name) != option.default:
                yield f"{option.name}={getattr(self, option.name)!r}"

    def replace(self, **changes: Any) -> Self:
        """The same composition with options or named parts changed: `body.replace(stage4=Chain(...))`."""
        options = {name: changes.pop(name, got) for name, got in self.options().items()}
        names = [part.name for part in self.parts if isinstance(part, Named)]
        for name in changes:
            if name not in names:
                raise UserError(f"{type(self).__name__} has no part named {name!r}.{nearest(name, names)}")
        parts = (
            Named(part.name, changes[part.name]) if isinstance(part, Named) and part.name in changes else part
            for part in self.parts
        )
        return type(self)(*parts, **options)


@composition
class Chain(Composition):
    """One part after the other. An empty chain passes its input on.

    Where the last part gives several maps, so does the chain: a tuple of them, which its type does not say.
    """

    def __call__(self, *maps: FeatureMap) -> FeatureMap:
        for part in self.parts:
            result = part(*maps)
            maps = result if isinstance(result, tuple) else (result,)
        return cast(FeatureMap, maps) if len(maps) > 1 else maps[0]


@composition
class Parallel(Composition):
    """Every part on the same input, the outputs joined: by default concatenated along the channels."""

    join: Layer | Block = Concat()

    def __call__(self, x: FeatureMap) -> FeatureMap:
        if not self.parts:
            raise UserError("Parallel: needs at least one part")
        joined: FeatureMap = self.join(*[part(x) for part in self.parts])
        return joined


@composition
class Dense(Composition):
    """Every part reads the input and the outputs of all parts before it, concatenated; so does what follows."""

    def __call__(self, x: FeatureMap) -> FeatureMap:
        for part in self.parts:
            x = Concat()(x, part(x))
        return x


@composition
class Residual(Composition):
    """The parts as a chain, added to the input; `shortcut` is applied to the input, `after` to the sum."""

    shortcut: Layer | Block | None = None
    after: Layer | Block | None = None

    def __call__(self, x: FeatureMap) -> FeatureMap:
        y = x
        for part in self.parts:
            y = part(y)
        total: FeatureMap = Add()(self.shortcut(x) if self.shortcut else x, y)
        return self.after(total) if self.after else total


@composition
class Heads(Composition):
    """Several heads, by name, on one tail and body: `Heads(classes=..., depth=...)`.

    Each reads the body's output, or, where the body returns several, the one whose number `reads` gives for its name.
    Heads named in `auxiliary` exist in training alone: built, the module leaves them out in evaluation.
    Built, the result is a dictionary by name, or the tensor itself where only one head is left.
    """

    reads: tuple[tuple[str, int], ...] = ()
    auxiliary: tuple[str, ...] = ()

    def __init__(self, *parts: Named, **named: Any) -> None:
        super().__init__(*parts, **named)
        for name in ("reads", "auxiliary"):
            if isinstance(getattr(self, name), (Layer, Block, str)):
                raise UserError(f"Heads: {name!r} is an option, no name for a head, got {getattr(self, name)!r}")
        reads = self.reads.items() if isinstance(self.reads, Mapping) else self.reads
        object.__setattr__(self, "reads", tuple((name, number) for name, number in reads))
        object.__setattr__(self, "auxiliary", tuple(self.auxiliary))
        unknown = {name for name, _ in self.reads} | set(self.auxiliary)
        unknown -= {part.name for part in self.parts if isinstance(part, Named)}
        if unknown or not self.parts or not all(isinstance(part, Named) for part in self.parts):
            raise UserError(
                f"Heads: every head needs a name, and these have no head: {', '.join(sorted(unknown)) or '-'}"
            )

        if len(self.auxiliary) == len(self.parts):
            raise UserError("Heads: at least one head must not be auxiliary")

    def __call__(self, *maps: FeatureMap) -> Any:
        reads = dict(self.reads)
        if not all(0 <= number < len(maps) for number in reads.values()):
            raise UserError(f"Heads: reads {reads}, but the body returns {len(maps)} feature maps")
        return tuple(part(maps[reads.get(part.name, 0)]) for part in self.parts if isinstance(part, Named))
