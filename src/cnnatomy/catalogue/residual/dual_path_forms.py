"""From residual to dual path: the five forms of figure 2 of the paper on dual path networks, each a few micro-blocks.

(a) `ResidualForm`, (b) `DenseForm`, (c) `SharedDenseForm`, (d) `DualPathForm`; (e) is `DualPathBlock`. With tied
weights (c) computes what (a) does, and (d) what (e) does: a residual network is a dense one with shared connections.
"""

from __future__ import annotations

from cnnatomy.catalogue.residual.dpn import bn_relu_conv
from cnnatomy.design import Block, FeatureMap
from cnnatomy.layers import Add, Concat, Slice
from cnnatomy.layers.layer import value


@value
class _Form(Block):
    """So many micro-blocks: the paper's g, a 1x1 to `width` channels and a grouped 3x3, and what follows."""

    repeat: int
    width: int
    groups: int = 1

    def g(self, x: FeatureMap) -> FeatureMap:
        return bn_relu_conv(bn_relu_conv(x, self.width, 1), self.width, 3, groups=self.groups)


@value
class ResidualForm(_Form):
    """(a) x + f(g(x)), with a 1x1 for f."""

    def __call__(self, x: FeatureMap) -> FeatureMap:
        for _ in range(self.repeat):
            x = Add()(x, bn_relu_conv(self.g(x), x.channels, 1))
        return x


@value
class DenseForm(_Form):
    """(b) Each micro-block has connections of its own to all maps before it: the 1x1 of their concatenation."""

    growth: int = 16

    def __call__(self, x: FeatureMap) -> FeatureMap:
        for _ in range(self.repeat):
            x = Concat()(x, bn_relu_conv(self.g(x), self.growth, 1))
        return x


@value
class SharedDenseForm(_Form):
    """(c) Each map has one connection f, shared by all micro-blocks after it: they read the sum."""

    def __call__(self, x: FeatureMap) -> FeatureMap:
        connected = [x]
        for _ in range(self.repeat):
            read = Add()(*connected) if len(connected) > 1 else x
            connected.append(bn_relu_conv(self.g(read), x.channels, 1))
        return Add()(*connected)


@value
class DualPathForm(Block):
    """(d) A residual and a dense path with a 1x1 each into the common 3x3, and a 1x1 each out of it."""

    residual: int
    growth: int
    width: int
    groups: int = 1

    def __call__(self, x: FeatureMap) -> FeatureMap:
        residual, dense = Slice(0, self.residual)(x), Slice(self.residual, x.channels)(x)
        into = Add()(bn_relu_conv(residual, self.width, 1), bn_relu_conv(dense, self.width, 1))
        y = bn_relu_conv(into, self.width, 3, groups=self.groups)
        residual = Add()(residual, bn_relu_conv(y, self.residual, 1))
        return Concat()(residual, dense, bn_relu_conv(y, self.growth, 1))


BLOCKS = (ResidualForm, DenseForm, SharedDenseForm, DualPathForm)
ENTRIES = ()
