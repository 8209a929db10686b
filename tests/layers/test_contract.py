"""Every layer kind keeps the same promises: what it says of shapes, tensors and operations is what torch does."""

from __future__ import annotations

import copy
import io
import math
import pickle
from pathlib import Path

import pytest
import torch

import cnnatomy.layers
from cnnatomy.layers import (
    LAYERS,
    LSTM,
    BatchNorm,
    Conv,
    DepthwiseConv,
    Derived,
    Each,
    Foreign,
    FullyConnected,
    Layer,
    MaxPool,
    MaxUnpool,
    NotCounted,
)
from cnnatomy.layers.activation import Activation, OfOneNumber
from cnnatomy.layers.element import Elementwise
from cnnatomy.layers.interval import ANY, Interval
from cnnatomy.layers.layer import CHANNEL, KINDS
from cnnatomy.layers.sliding import Pool
from cnnatomy.layers.torch_modules import Computed
from helpers import flops, inputs_of, learned, stored
from layer_examples import EXAMPLES, MAP, Example, each_example


def names(kinds: set[type[Layer]]) -> str:
    return ", ".join(sorted(kind.__name__ for kind in kinds))


def test_every_layer_kind_has_an_example() -> None:
    missing = set(LAYERS) - {type(example.layer) for example in EXAMPLES}
    assert not missing, f"add examples of {names(missing)} to EXAMPLES in tests/layers/test_contract.py"


FOR_READERS = {Derived, Each, Foreign, NotCounted}
"""What networks of other people are read into beside our layers; tests of readers try them."""


def test_every_layer_class_of_the_package_is_listed() -> None:
    def below(cls: type) -> set[type]:
        return {cls}.union(*map(below, cls.__subclasses__()))

    ours = {cls for cls in below(Layer) if cls.__module__.startswith("cnnatomy.layers.")}
    public = {cls for cls in ours if not cls.__name__.startswith("_")}
    missing = public - set(LAYERS) - {Layer, Elementwise, Activation, OfOneNumber, Pool, *FOR_READERS}
    assert not missing, f"add {names(missing)} to LAYERS in src/cnnatomy/layers/__init__.py"
    assert len(set(LAYERS)) == len(LAYERS)
    hidden = {cls for cls in LAYERS if cls.__name__ not in cnnatomy.layers.__all__}
    assert not hidden, f"add {names(hidden)} to __all__ in src/cnnatomy/layers/__init__.py"


@each_example
def test_the_output_has_the_shape_that_was_predicted(example: Example) -> None:
    layer, shapes = example
    output = layer.module(*shapes)(*inputs_of(layer, shapes, batch=2))
    assert tuple(output.shape) == (2, *layer.output_shape(*shapes))


@each_example
def test_the_module_has_the_tensors_that_were_described(example: Example) -> None:
    layer, shapes = example
    module = layer.module(*shapes)
    assert learned(module) == layer.parameters(*shapes)
    assert stored(module) == layer.buffers(*shapes)


@each_example
def test_two_flops_a_mac_are_what_torch_counts(example: Example) -> None:
    layer, shapes = example
    operations = layer.operations(shapes, layer.output_shape(*shapes))
    assert flops(layer.module(*shapes), *inputs_of(layer, shapes, batch=1)) == 2 * operations.mac
    assert all(type(count) is int and count >= 0 for count in operations)


@each_example
def test_a_layer_is_a_value(example: Example) -> None:
    layer = example.layer
    again = eval(repr(layer), vars(cnnatomy.layers))
    assert again == layer
    assert type(again) is type(layer)
    assert hash(again) == hash(layer)
    assert repr(again) == repr(layer)
    assert layer.replace() == layer
    assert {layer: "found"}[again] == "found"
    assert pickle.loads(pickle.dumps(layer)) == layer
    assert copy.deepcopy(layer) == layer
    assert pickle.loads(pickle.dumps(layer)).kind == layer.kind


@pytest.mark.slow
@each_example
def test_a_module_survives_deepcopy_pickle_and_saved_weights(example: Example) -> None:
    layer, shapes = example
    module, loaded = layer.module(*shapes).eval(), layer.module(*shapes).eval()
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    loaded.load_state_dict(torch.load(file))
    inputs = inputs_of(layer, shapes)
    expected = module(*inputs)
    for again in (copy.deepcopy(module), pickle.loads(pickle.dumps(module)), loaded):
        torch.testing.assert_close(again(*inputs), expected, rtol=0, atol=0)


@each_example
def test_every_parameter_gets_a_gradient(example: Example) -> None:
    layer, shapes = example
    module = layer.module(*shapes)
    parameters = list(module.parameters())
    if not parameters:
        return
    module(*inputs_of(layer, shapes, batch=3)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in parameters)


def with_random_tensors(module: torch.nn.Module) -> torch.nn.Module:
    """Any weights, any running means, and any positive running variances."""
    with torch.no_grad():
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            if tensor.is_floating_point() and not name.endswith("codes"):
                tensor.normal_(0, 3)
                if name.endswith("var"):
                    tensor.abs_().add_(0.1)
    return module


@each_example
def test_values_lie_within_the_predicted_bounds_whatever_the_weights(example: Example) -> None:
    layer, shapes = example
    module = with_random_tensors(layer.module(*shapes)).double().eval()
    for within in (ANY, Interval(0, math.inf), Interval(-math.inf, -1), Interval(2, 5)):
        low, high = max(within.low, -30), min(within.high, 30)
        inputs = [low + (high - low) * torch.rand(20, *shape, dtype=torch.float64) for shape in shapes]
        if isinstance(layer, MaxUnpool):
            inputs[1] = inputs_of(layer, shapes, batch=20)[1]
        output = module(*inputs).detach()
        bounds = layer.interval(*[within] * len(shapes))
        assert bounds.low - 1e-9 <= output.min() <= output.max() <= bounds.high + 1e-9, within


SECOND_FILES = {"activation": "element", "enlarging": "space"}
"""Kinds of so many layers that they fill two files: the second, and the kind."""


def test_the_kind_is_one_of_seven_and_names_the_file() -> None:
    for layer, _ in EXAMPLES:
        assert layer.kind in KINDS, layer
        file = Path(type(layer).__module__.rpartition(".")[2]).name.replace("_", " ")
        one_by_one = isinstance(layer, Conv) and layer.kernel == 1
        assert layer.kind == (CHANNEL if one_by_one else SECOND_FILES.get(file, file)), layer


@pytest.mark.parametrize("kind", LAYERS, ids=lambda kind: kind.__name__)
def test_every_layer_kind_says_what_it_is(kind: type[Layer]) -> None:
    assert kind.__doc__
    assert not kind.__doc__.startswith(kind.__name__ + "(")  # what dataclasses write by themselves


def test_torch_has_its_own_module_wherever_it_can() -> None:
    """Kinds that fall back on `Computed` are those for which torch has no module at all."""
    computed = {type(e.layer).__name__ for e in EXAMPLES if type(e.layer.module(*e.inputs)) is Computed}
    assert computed == {
        *("Conv", "DepthwiseConv"),  # only where top and bottom, or left and right, differ
        *("DeformableConv", "PartialConv", "MatMul", "RadialBasis"),
        *("MajorityVote", "ArgMax", "GroupMaximum", "PixelScale", "Normalise"),
        *("ArgMaxPool", "SpatialPyramidPool", "BedOfNails", "MaxUnpool", "Shift", "RankFilter", "Subsample"),
        *("Tanh", "Swish"),  # only with an amplitude or slope, a beta
        *("Maxout", "Scale", "Bias", "Constant", "AddConstant", "Add", "Maximum", "Multiply", "DeepRNN", "Erf"),
        *("Reshape", "Concat", "Slice", "Crop", "PadChannels", "Permute"),
    }, "a kind without a module of torch's is named here"
    assert type(Conv(4, 3, padding="same").module(MAP)) is torch.nn.Conv2d


def test_the_layers_are_named_as_torch_names_them_where_torch_has_them() -> None:
    assert type(DepthwiseConv(3).module(MAP)) is torch.nn.Conv2d
    assert type(FullyConnected(3).module((5,))) is torch.nn.Linear
    assert type(MaxPool(2).module(MAP)) is torch.nn.MaxPool2d
    assert type(BatchNorm().module((5,))) is torch.nn.BatchNorm1d
    assert type(BatchNorm().module(MAP)) is torch.nn.BatchNorm2d
    assert isinstance(LSTM(3).module((4, 5)), torch.nn.LSTM)
