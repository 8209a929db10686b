"""Transfer: what is taken over of a trained network, what is frozen, and how fast each part learns."""

from __future__ import annotations

import itertools
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import cnnatomy as cn
from cnnatomy import Chain, Network
from cnnatomy.data import Data, load
from cnnatomy.data.imagenet import imagenet_classes
from cnnatomy.design import LinearHead
from cnnatomy.design.listed import ListedNetwork
from cnnatomy.errors import UserError
from cnnatomy.layers import BatchNorm, Conv, Flatten, FullyConnected, MaxPool, ReLU
from cnnatomy.readers.yaml import design
from cnnatomy.runs.weights.sources import save
from cnnatomy.runs.weights.start import open_start
from cnnatomy.tasks.label import Label
from cnnatomy.training import Recipe, Trained, fit, preparing
from cnnatomy.training.fitting import built
from cnnatomy.training.schema import OPTIMIZERS
from cnnatomy.training.watching import Watcher
from helpers import run_command

RECIPE = Recipe(epochs=1, learning_rate=0.05, seed=1)
State = dict[str, Tensor]


def network(classes: int = 10, side: int = 8, head: Any = None) -> Network:
    return Network(
        tail=Chain(Conv(4, 3, padding=1), BatchNorm(), ReLU(), MaxPool(2)),
        body=Chain(Conv(6, 3, padding=1), BatchNorm(), ReLU()),
        head=head or LinearHead(classes),
        input=(1, side, side),
        name="small",
    )


class States(Watcher):
    """Keeps the weights before the first step, after it, and after every epoch."""

    def __init__(self) -> None:
        self.before: State = {}
        self.first: State = {}
        self.epochs: list[State] = []

    def begin(self, training: Any) -> None:
        self.before = copied(training.model.network)

    def step(self, training: Any, loss: Tensor) -> None:
        self.first = self.first or copied(training.model.network)

    def epoch(self, training: Any, row: Any) -> None:
        self.epochs.append(copied(training.model.network))


def copied(module: nn.Module) -> State:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def changed(before: State, after: State) -> set[str]:
    """The parts of which any tensor, batch-norm statistics included, is no longer the same bit for bit."""
    return {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}


def class_folder(folder: Path, classes: dict[str, int], side: int = 8, images: int = 12) -> Path:
    """Noise of another brightness for each class."""
    numbers = np.random.default_rng(0)
    for name, brightness in classes.items():
        (folder / name).mkdir(parents=True)
        for i in range(images):
            noise = numbers.integers(0, 60, (side, side), dtype=np.uint8) + np.uint8(brightness)
            Image.fromarray(noise).save(folder / name / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def digits() -> Data:
    return load("digits", (1, 8, 8))


@pytest.fixture(scope="module")
def two_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return class_folder(tmp_path_factory.mktemp("data"), {"dark": 0, "light": 120})


@pytest.fixture(scope="module")
def trained(digits: Data, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return fit(network(), digits, RECIPE, tmp_path_factory.mktemp("runs") / "digits", device="cpu")


def test_for_other_classes_the_head_is_new_and_all_else_bit_identical(trained: Trained, two_classes: Path) -> None:
    seen = States()
    after = fit(network(2), load(two_classes, (1, 8, 8)), RECIPE, start=trained, device="cpu", watch=[seen])
    start = copied(trained.network)
    kept = [name for name in start if not name.startswith("head.")]
    assert all(torch.equal(seen.before[name], start[name]) for name in kept)
    alone = copied(built(after.run, RECIPE, None, torch.device("cpu")).network)
    for name in alone.keys() - set(kept):  # as the recipe initialises it
        assert torch.equal(seen.before[name], alone[name])
        assert alone[name].shape[0] == 2


def test_for_the_same_classes_everything_is_taken_over(trained: Trained, digits: Data) -> None:
    seen = States()
    after = fit(network(), digits, RECIPE, start=trained, device="cpu", watch=[seen])
    assert changed(copied(trained.network), seen.before) == set()
    assert after.run.parent == str(trained.path)


def test_without_a_head_by_name_the_last_layer_with_weights_is_replaced(trained: Trained, two_classes: Path) -> None:
    chain = [Conv(4, 3, padding=1), ReLU(), Flatten()]
    nets = [Network(Chain(*chain), Chain(), Chain(FullyConnected(n)), (1, 8, 8)) for n in (10, 2)]
    listed, other = (without_parts(net) for net in nets)
    weights = listed.build()
    start = replace(trained, run=replace(trained.run, network=listed), model=with_network(trained, weights), path=None)
    seen = States()
    fit(other, load(two_classes, (1, 8, 8)), RECIPE, start=start, device="cpu", watch=[seen])
    mine = copied(weights)
    new = {name for name in seen.before if seen.before[name].shape != mine[name].shape}
    assert len(new) == 2
    assert all(torch.equal(seen.before[name], mine[name]) for name in mine.keys() - new)


def without_parts(network: Network) -> ListedNetwork:
    """Its layers under numbers, as of a module that others made."""
    net = ListedNetwork.of(network.graph(), "listed")
    return net.replace(entries=tuple(entry.replace(path=f"n{i}") for i, entry in enumerate(net.entries)))


def with_network(trained: Trained, module: nn.Module) -> Any:
    return type(trained.model)(module, trained.run.normalisation)


def test_another_body_is_refused_by_its_first_tensor(trained: Trained, digits: Data) -> None:
    wider = replace(network(), body=Chain(Conv(7, 3, padding=1), BatchNorm(), ReLU()))
    with pytest.raises(UserError, match=r"body\.conv\.weight"):
        fit(wider, digits, RECIPE, start=trained, device="cpu")


def test_normalisation_is_that_of_the_start(trained: Trained, two_classes: Path) -> None:
    data = load(two_classes, (1, 8, 8))
    after = fit(network(2), data, RECIPE, start=trained, device="cpu")
    assert after.run.normalisation == trained.run.normalisation != data.normalisation
    assert torch.equal(after.model.mean, trained.model.mean)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
def test_frozen_parts_keep_parameters_and_batch_norm_statistics(trained: Trained, digits: Data, optimizer: str) -> None:
    seen = States()
    recipe = replace(RECIPE, freeze=("tail", "body"), optimizer=optimizer, decay="auto", ema=0.9, l1=1e-4)
    after = fit(network(), digits, recipe, start=trained, device="cpu", watch=[seen])
    assert changed(seen.before, seen.epochs[-1]) == {"head"}
    assert changed(copied(trained.network), copied(after.network)) == {"head"}  # the average, too


def test_freezing_all_that_has_weights_is_refused(digits: Data) -> None:
    bare = network(head=Chain(Conv(10, 4)))
    with pytest.raises(UserError, match=r"freeze \(tail, body, head\) leaves nothing of small to train"):
        fit(bare, digits, replace(RECIPE, freeze=("tail", "body", "head")))
    shrunk = replace(network(), body=Chain(Conv(10, 4)), head=Chain(Flatten()))
    with pytest.raises(UserError, match="leaves nothing"):
        fit(shrunk, digits, replace(RECIPE, freeze=("tail", "body")))


def test_a_part_with_a_tenth_of_the_rate_makes_a_tenth_of_the_step(trained: Trained, digits: Data) -> None:
    recipe = replace(RECIPE, momentum=0.0, weight_decay=0.0)
    steps = []
    for rates in ({}, {"body": 0.1}):
        seen = States()
        fit(network(), digits, replace(recipe, rates=rates), start=trained, device="cpu", watch=[seen])
        weights = [name for name, _ in trained.network.named_parameters()]
        steps.append({name: seen.first[name].double() - seen.before[name].double() for name in weights})
    whole, tenth = steps
    for name, step in whole.items():
        expected = step / 10 if name.startswith("body.") else step
        assert torch.allclose(tenth[name], expected, rtol=1e-3, atol=1e-7), name
    assert any(step.abs().max() > 1e-4 for name, step in whole.items() if name.startswith("body."))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_gradual_unfreezing_thaws_the_body_after_one_epoch_and_the_tail_after_two(
    trained: Trained, digits: Data, optimizer: str
) -> None:
    seen = States()
    recipe = replace(RECIPE, epochs=3, learning_rate=0.001, freeze=("tail", "body"), unfreeze=1, optimizer=optimizer)
    fit(network(), digits, recipe, start=trained, device="cpu", watch=[seen])
    states = [seen.before, *seen.epochs]
    by_epoch = [changed(before, after) for before, after in itertools.pairwise(states)]
    assert by_epoch == [{"head"}, {"head", "body"}, {"head", "body", "tail"}]


def test_a_network_goes_on_at_another_input_size(trained: Trained, tmp_path: Path) -> None:
    seen = States()
    larger = load("digits", (1, 12, 12))
    fit(network(side=12), larger, RECIPE, tmp_path / "larger", start=trained, device="cpu", watch=[seen])
    assert changed(copied(trained.network), seen.before) == set()  # the head reads means over the map: it is the same
    assert Trained.load(tmp_path / "larger").run.shape == (1, 12, 12)


def test_a_head_that_reads_every_pixel_is_new_at_another_input_size(digits: Data) -> None:
    def flat(side: int) -> Network:
        return network(side=side, head=Chain(Flatten(), FullyConnected(10)))

    start, seen = fit(flat(8), digits, RECIPE, device="cpu"), States()
    fit(flat(12), load("digits", (1, 12, 12)), RECIPE, start=start, device="cpu", watch=[seen])
    before = copied(start.network)
    kept = [name for name in before if not name.startswith("head.")]
    assert all(torch.equal(before[name], seen.before[name]) for name in kept)


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_a_file_of_weights_of_seven_classes_starts_a_network_of_ten(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"seven.{suffix}"
    seven = cn.network("lenet-5", classes=7).build()
    save(seven.state_dict(), file) if suffix == "safetensors" else torch.save(seven.state_dict(), file)
    start = open_start(str(file), cn.network("lenet-5"), "cpu")
    assert len(start.run.classes) == 7
    assert changed(copied(seven), copied(start.network)) == set()
    assert start.name == str(file)  # by which a run finds its parent again
    run_command(
        "train", "lenet-5", "--start", file, "--epochs", "1", "--out", tmp_path / "run", "--freeze", "tail,body"
    )
    after = copied(Trained.load(tmp_path / "run").network)
    mine = copied(seven)
    assert all(torch.equal(after[name], mine[name]) for name in mine if name.startswith(("tail.", "body.")))
    assert max(tensor.shape[0] for name, tensor in after.items() if name.endswith("bias")) >= 10


def test_a_start_of_a_thousand_classes_needs_no_network_of_as_many(tmp_path: Path) -> None:
    weights = cn.network("resnet-20-cifar", classes=1000).build()
    save(weights.state_dict(), tmp_path / "x.safetensors")
    start = open_start(str(tmp_path / "x.safetensors"), cn.network("resnet-20-cifar", classes=3), "cpu")
    assert start.run.classes == imagenet_classes()


def test_weights_of_another_network_are_refused_with_a_list(tmp_path: Path) -> None:
    save(cn.network("lenet-5").build().state_dict(), tmp_path / "x.safetensors")
    with pytest.raises(UserError, match="is not the same architecture:\n  ours without a counterpart: tail"):
        open_start(str(tmp_path / "x.safetensors"), cn.network("resnet-20-cifar"), "cpu")


def test_a_file_of_our_own_is_taken_by_name_though_its_order_is_not_ours(tmp_path: Path) -> None:
    weights = cn.network("resnet-110-cifar").build()
    save(weights.state_dict(), tmp_path / "x.safetensors")  # in which block10 may come before block2
    start = open_start(str(tmp_path / "x.safetensors"), cn.network("resnet-110-cifar"), "cpu")
    assert changed(copied(weights), copied(start.network)) == set()


def test_pretrained_without_a_library_gives_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torchvision", "torchvision.models", "timm"):
        monkeypatch.setitem(sys.modules, name, None)  # so that importing it fails
    said = run_command("train", "resnet-18", "--start", "pretrained", "--input", "3x32x32", code=2).stderr
    assert said.startswith("cnnatomy: pretrained: neither torchvision nor timm")
    assert said.count("\n") == 1


def test_pretrained_that_cannot_be_fetched_gives_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(name: str, weights: str | None) -> nn.Module:
        raise OSError(f"<urlopen error: no route to the host of {name}>\nand more")

    library = SimpleNamespace(list_models=lambda: ["resnet18"], get_model=offline)
    monkeypatch.setitem(sys.modules, "torchvision", SimpleNamespace(models=library))
    monkeypatch.setitem(sys.modules, "torchvision.models", library)
    said = run_command("train", "resnet-18", "--start", "pretrained", "--input", "3x32x32", code=2).stderr
    assert said.startswith("cnnatomy: torchvision:resnet18 cannot be made: <urlopen error: no route")
    assert said.count("\n") == 1


def test_a_run_of_weights_is_evaluated_with_imagenets_names(tmp_path: Path) -> None:
    tabby, cup = (imagenet_classes().index(name) for name in ("tabby", "cup"))
    file = a_file(tmp_path, 1000)
    run_command("weights", "lenet-5", "--from", file, "--classes", "1000", "--run", tmp_path / "run")
    folder = class_folder(tmp_path / "images", {"tabby": 0, "cup": 120})
    said = run_command("evaluate", tmp_path / "run", "--data", folder, "--format", "json").stdout
    assert '"images": 24' in said
    matrix = Trained.load(tmp_path / "run").evaluate(folder)[0].as_dict()["confusion_matrix"]
    assert [i for i, row in enumerate(matrix) if sum(row)] == sorted((tabby, cup))


@pytest.mark.parametrize("how", ["list", "file"])
def test_classes_of_weights_are_named_by_a_list_or_a_file(tmp_path: Path, how: str) -> None:
    (tmp_path / "names.txt").write_text("light\n dark\n\n")
    names = "light,dark" if how == "list" else tmp_path / "names.txt"
    folder = class_folder(tmp_path / "images", {"dark": 0, "light": 120})
    file = a_file(tmp_path, 2)
    run_command("weights", "lenet-5", "--from", file, "--classes", "2", "--run", tmp_path / "numbered")
    refused = run_command("evaluate", tmp_path / "numbered", "--data", folder, code=2).stderr
    assert "does not know: dark, light" in refused
    run_command("weights", "lenet-5", "--from", file, "--names", names, "--run", tmp_path / "run")
    trained = Trained.load(tmp_path / "run")
    assert trained.run.classes == ("light", "dark")
    assert trained.evaluate(folder)[0].as_dict()["images"] == 24


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--names", "a,b,a", "--run", "run"], "'a' is there twice"),
        (["--names", ",", "--run", "run"], "has no names of classes"),
        (["--names", "none.txt", "--run", "run"], "none.txt"),
        (["--names", "a,b,c", "--run", "run", "--classes", "2"], "--names has the classes a, b, c"),
        (["--names", "a,b,c", "--run", "run"], "its last layer has 2 outputs, and that of lenet-5 3: give names for 2"),
        (["--names", "a,b"], "name one with --run"),
    ],
)
def test_names_that_do_not_fit_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    said = run_command("weights", "lenet-5", "--from", a_file(tmp_path, 2), *arguments, code=2).stderr
    assert message in said
    assert not Path("run").exists()


def a_file(folder: Path, classes: int) -> Path:
    file = folder / f"{classes}.safetensors"
    save(cn.network("lenet-5", classes=classes).build().state_dict(), file)
    return file


def test_final_finds_the_file_that_a_run_began_with(tmp_path: Path, digits: Data) -> None:
    file = a_file(tmp_path, 7)
    run_command("train", "lenet-5", "--start", file, "--epochs", "1", "--out", tmp_path / "run")
    assert Trained.load(tmp_path / "run").run.parent == str(file)
    run_command("train", "lenet-5", "--final", tmp_path / "run")
    assert Trained.load(tmp_path / "run-final").run.parent == str(file)


def test_a_design_of_ten_classes_gets_a_head_for_two_and_goes_on_after_an_interruption(tmp_path: Path) -> None:
    folder = class_folder(tmp_path / "images", {"dark": 0, "light": 120}, side=12)
    (tmp_path / "small.yaml").write_text(design.write(network()))
    first, second = tmp_path / "first", tmp_path / "second"
    run_command("train", tmp_path / "small.yaml", "--epochs", "1", "--out", first)
    refused = run_command("train", tmp_path / "small.yaml", "--data", folder, "--out", second, code=2).stderr
    assert "the data need 2 (one for each class or number)" in refused
    options = ("--data", folder, "--input", "1x12x12", "--out", second, "--set", "epochs=1", "--freeze", "tail,body")
    run_command("train", tmp_path / "small.yaml", *options, "--start", first)
    assert Trained.load(second).run.network == network(2, side=12)
    run_command("train", tmp_path / "small.yaml", "--out", second, "--resume", "--epochs", "2")
    assert len((second / "metrics.csv").read_text().splitlines()) == 3


def test_what_begins_with_other_weights_is_said_and_what_is_new_cannot_be_frozen(tmp_path: Path) -> None:
    digits = load("digits", (1, 8, 8))
    start = fit(network(), digits, RECIPE, tmp_path / "first")
    notes = preparing.plan(network(), digits, RECIPE, torch.device("cpu"), start=start).notes
    assert f"weights of {tmp_path / 'first'}, all of them" in notes
    turned = replace(digits, task=Label(tuple(reversed(digits.classes))))
    planned = preparing.plan(network(), turned, RECIPE, torch.device("cpu"), start=start)
    assert any("but for the head (head.fc), which is new: its classes are others, or in" in it for it in planned.notes)
    assert planned.run.change == "trained further with a new head"
    with pytest.raises(UserError, match=r"freeze: head\.fc begins with new weights"):
        preparing.plan(network(), turned, replace(RECIPE, freeze=("head",)), torch.device("cpu"), start=start)
