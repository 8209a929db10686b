"""`--fix`: what it makes of a design is a design, builds, trains, and costs what was announced."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from hypothesis import assume, given, settings

import cnnatomy as cn
from cnnatomy.analysis import account
from cnnatomy.cli import main
from cnnatomy.critique import RULES, Case, Purpose, critique, fix
from cnnatomy.critique.normalisation import response_normalisation
from cnnatomy.critique.rule import rule
from cnnatomy.design import LinearHead
from cnnatomy.edits.change import Cost, changed
from cnnatomy.errors import ShapeError
from cnnatomy.layers import BatchNorm, ReLU
from cnnatomy.layers.layer import elements
from cnnatomy.readers.yaml import design
from kinds import each_kind, each_shallow_kind
from random_designs import MAX_ELEMENTS, networks

DATA = Path(__file__).parent / "data"
DESIGNS = ("residual", "segmentation")
PLANTED = {
    "residual": {"N2", "N4", "N6", "N8", "W1", "W10", "W6", "W7", "C1"},
    "segmentation": {"N2", "W2", "W6"},
}
"""What our own designs were made to get wrong."""


def redesigned(name: str, **options):
    network = design.read((DATA / f"{name}.yaml").read_text()) if name in DESIGNS else cn.network(name, **options)
    return network, fix(network, Purpose(), RULES, RULES, unsafe=True)


def harmful(refused) -> bool:
    """Whether all that was refused would have done harm; the changes fit, and can be said in a design."""
    return all(reason.startswith("it would ") for _, reason in refused)


def loss_of(network: cn.Network, output: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    pixels = labels.view(-1, 1, 1).expand(-1, *output.shape[2:]) if output.dim() == 4 else labels
    return torch.nn.functional.cross_entropy(output, pixels)


def losses(network: cn.Network, steps: int, images: int, rate: float) -> list[float]:
    """Of stochastic gradient descent on random images, always the same, that are to be told apart."""
    torch.manual_seed(0)
    module = network.build().train()
    assert sum(p.numel() for p in module.parameters()) == network.account().totals.parameters
    optimizer = torch.optim.SGD(module.parameters(), rate, momentum=0.9)
    x, labels = torch.randn(images, *network.input), torch.arange(images) % 5
    found = []
    for _ in range(steps):
        loss = loss_of(network, module(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


@pytest.mark.parametrize("name", ["alexnet", "vgg-16", "googlenet", "mobilenet-v1-1.0", "densenet-121", *DESIGNS])
def test_every_step_costs_what_was_announced_and_nothing_is_left(name):
    network, fixed = redesigned(name)
    assert harmful(fixed.refused)
    now = network.account()
    for step in fixed.steps:
        assert Cost.of(step.before) == Cost.of(now)
        assert Cost.of(step.after) == step.remedy.after
        now = step.after
    assert Cost.of(fixed.network.account()) == Cost.of(now)
    assert not [finding.rule.code for finding in fixed.left if finding.remedy and finding.remedy.fix]
    assert [x.shape for x in fixed.network.graph().outputs] == [x.shape for x in network.graph().outputs]


@pytest.mark.parametrize("name", DESIGNS)
def test_the_mistakes_that_were_planted_are_found_and_fixed(name):
    _, fixed = redesigned(name)
    assert PLANTED[name] <= {step.finding.rule.code for step in fixed.steps}
    assert not PLANTED[name] & {finding.rule.code for finding in fixed.left if finding.severity != "note"}


@pytest.mark.slow
@pytest.mark.parametrize("name", DESIGNS)
def test_our_own_designs_train_after_it(name):
    _, fixed = redesigned(name)
    found = losses(fixed.network, steps=12, images=10, rate=0.02)
    assert all(torch.isfinite(torch.tensor(found)))
    assert min(found[-3:]) < found[0]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "side"), [("alexnet", 131), ("vgg-16", 64)])
def test_alexnet_and_vgg_16_train_after_it(name, side):
    _, fixed = redesigned(name, classes=5, input=(3, side, side))
    assert fixed.steps
    found = losses(fixed.network, steps=4, images=5, rate=0.003)
    assert all(torch.isfinite(torch.tensor(found)))
    assert min(found[-2:]) < found[0]


def test_alexnet_gets_batch_norm_for_response_normalisation_under_the_same_names():
    network = cn.network("alexnet")
    fixed = fix(network, Purpose(), [response_normalisation], unsafe=True)
    layers = {node.path: node.layer for node in fixed.network.graph()}
    before = {node.path: node.layer for node in network.graph()}
    assert layers == before | {"tail.norm1": BatchNorm(), "body.norm2": BatchNorm()}
    assert fixed.left == []


@pytest.mark.slow
@each_kind
def test_remedies_for_networks_of_the_catalogue_are_refused_for_harm_alone_and_cost_what_they_announced(name):
    _, fixed = redesigned(name)
    assert harmful(fixed.refused)
    assert all(Cost.of(step.after) == step.remedy.after for step in fixed.steps)
    assert design.read(design.write(fixed.network)) == fixed.network


@rule("X1", "up-and-down", "note", "nobody")
def alternating(study):
    """A batch norm where there is none, and none where there is one: no end of it."""
    for node in study.graph.nodes:
        if isinstance(node.layer, BatchNorm):
            yield Case((node.path,), "is one", {}, study.remedy("drop it", {node: ()}, fix="unsafe"))
        if isinstance(node.layer, ReLU):
            yield Case((node.path,), "none", {}, study.remedy("add", {node: (BatchNorm(), node.layer)}, fix="unsafe"))


def test_rules_that_contradict_each_other_come_to_an_end():
    fixed = fix(cn.network("lenet-5").replace(body=ReLU(), head=LinearHead(10)), Purpose(), [alternating], unsafe=True)
    assert 0 < len(fixed.steps) <= 100


@rule("X3", "shorter", "warning", "nobody")
def shorter(study):
    """One layer for two, which another rule objects to."""
    for node in study.graph.nodes:
        if node.path == "body.relu2":
            yield Case((node.path,), "two", {}, study.remedy("one is enough", {node: ()}, fix="safe"))


def complains(severity):
    @rule("X4", "longer", severity, "nobody")
    def longer(study):
        """Fewer than two of them."""
        if sum(isinstance(node.layer, ReLU) for node in study.graph.nodes) < 2:
            yield Case(("body.relu",), "one", {})

    return longer


TWICE = cn.network("lenet-5").replace(body=cn.Chain(ReLU(), ReLU()), head=LinearHead(10))


def test_a_step_that_would_bring_in_a_warning_is_refused():
    fixed = fix(TWICE, Purpose(), [shorter, complains("warning")])
    assert fixed.network == TWICE
    ((finding, reason),) = fixed.refused
    assert (finding.rule, reason) == (shorter, "it would bring in warning X4 longer: one")


def test_a_step_is_refused_for_what_other_rules_would_say_and_tried_again_after_the_next(run):
    """Without its head LeNet-5 ends in a pool of a pool; with it five layers saturate where two 3x3 replace a 5x5."""
    text = run("critique", "lenet-5", "--rule", "C1", "--unsafe-fixes", "--fix", "new.yaml")
    assert "it would bring in warning W12 pool-after-pool" in text
    assert not Path("new.yaml").exists()
    fixed = fix(cn.network("lenet-5"), Purpose(), RULES, RULES, unsafe=True)
    codes = [step.finding.rule.code for step in fixed.steps]
    assert codes.index("N9") < codes.index("C2")
    assert "C2" not in {finding.rule.code for finding, _ in fixed.refused}


def test_a_note_that_a_step_brings_in_is_told():
    (step,) = fix(TWICE, Purpose(), [shorter, complains("note")]).steps
    assert [(one.rule.code, one.text) for one in step.introduced] == [("X4", "one")]
    assert step.gone == ("body.relu2",)


def test_what_another_remedy_did_is_not_undone():
    @rule("X5", "longer", "note", "nobody")
    def longer(study):
        """One of them, where there could be two."""
        node = next(node for node in study.graph.nodes if isinstance(node.layer, ReLU))
        if sum(isinstance(node.layer, ReLU) for node in study.graph.nodes) < 2:
            yield Case((node.path,), "one", {}, study.remedy("two", {node: (ReLU(), ReLU())}, fix="safe"))

    fixed = fix(TWICE, Purpose(), [shorter, longer])
    assert [step.finding.rule for step in fixed.steps] == [shorter]
    assert [(finding.rule, reason) for finding, reason in fixed.refused] == [
        (longer, "it would undo what another remedy did")
    ]


def test_lenet_5_keeps_its_head_unless_unsafe_fixes_are_asked_for(run):
    """Global average pooling in its place took it from 85 % to 72 % on Fashion-MNIST."""
    text = run("critique", "lenet-5", "--fix", "better.yaml", "--pedantic")
    assert "There is nothing that a program may apply: no file is written." in text
    assert "more by --unsafe-fixes" in text
    assert not Path("better.yaml").exists()


def test_a_difference_is_printed_and_nothing_written(run):
    Path("two.yaml").write_text(design.write(TWICE.replace(name="two")))
    comment, *changes = run("critique", "two.yaml", "--diff").splitlines()
    assert comment == "# W6 idle-nonlinearity (safe): body.relu2; gone: body.relu2"
    assert changes[:2] == ["--- two.yaml", "+++ two.yaml"]
    assert "-    times: 2" in changes
    assert [path.name for path in Path().iterdir()] == ["two.yaml"]
    assert "There is nothing that a program may apply" in run("critique", "lenet-5", "--diff")


def test_unsafe_fixes_alone_are_a_mistake(run):
    assert "give one of them" in run("critique", "lenet-5", "--unsafe-fixes", code=2)


@rule("X2", "wider", "note", "nobody")
def wider(study):
    """A layer of its own in the middle of what cannot be taken apart."""
    node = next(node for node in study.graph.nodes if node.path.startswith("body.mixed_7b") and "relu2" in node.path)
    yield Case((node.path,), "", {}, study.remedy("twice", {node: (ReLU(), ReLU())}, fix="unsafe"))


def test_what_is_neither_a_chain_nor_made_of_branches_is_left_as_it_is_and_said_so():
    network = cn.network("inception-v3")
    fixed = fix(network, Purpose(), [wider], unsafe=True)
    assert fixed.network == network
    ((finding, reason),) = fixed.refused
    assert finding.rule is wider
    assert "neither a chain nor made of branches" in reason


@pytest.fixture
def run(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")

    def run(*arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        assert result.exit_code == code, result.output
        return result.output

    return run


def test_the_file_reads_back_as_the_network_and_is_never_overwritten(run):
    text = run("critique", DATA / "residual.yaml", "--pedantic", "--unsafe-fixes", "--fix", "better.yaml")
    written = Path("better.yaml").read_text()
    _, fixed = redesigned("residual")
    assert design.read(written) == fixed.network
    assert design.read(written).name == "better"
    for step in fixed.steps:
        assert f"# {step.finding.rule.code} {step.finding.rule.name} ({step.remedy.fix}): " in written
        assert f"{step.finding.rule.code} {step.finding.rule.name} ({step.remedy.fix})\n" in text
    assert "wrote better.yaml" in text
    before, after = (network.account().totals.parameters for network in (redesigned("residual")[0], fixed.network))
    assert f"{before:,}" in text
    assert f"{after:,}" in text
    assert "is there already, and is not overwritten" in run("critique", "alexnet", "--fix", "better.yaml", code=2)
    assert Path("better.yaml").read_text() == written
    again = run("critique", "better.yaml", "--fix", "best.yaml")
    assert "There is nothing that a program may apply: no file is written." in again
    assert not Path("best.yaml").exists()


def test_json_says_what_was_done(run):
    fixing = ("--unsafe-fixes", "--fix", "new.yaml")
    printed = json.loads(run("critique", "alexnet", "--rule", "N4", *fixing, "--format", "json"))
    assert printed["fix"]["file"] == "new.yaml"
    assert printed["fix"]["not_applied"] == []
    (step,) = printed["fix"]["applied"]
    assert step["code"] == "N4"
    assert (step["before"]["parameters"], step["after"]["parameters"]) == (60_965_224, 60_965_928)
    assert printed["findings"] == []
    assert printed["totals"]["parameters"] == 60_965_928


def test_strict_looks_at_what_is_left(run):
    run("critique", "alexnet", "--rule", "N4", "--strict", code=1)
    run("critique", "alexnet", "--rule", "N4", "--unsafe-fixes", "--fix", "new.yaml", "--strict")


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(networks())
def test_random_designs_build_and_cost_what_was_announced_after_it(network):
    try:
        graph = network.graph()
    except ShapeError:
        assume(False)
    assume(all(elements(node.output.shape) <= MAX_ELEMENTS for node in graph))
    fixed = fix(network, Purpose(), RULES, RULES, unsafe=True)
    assert harmful(fixed.refused)
    for step in fixed.steps:
        assert Cost.of(step.after) == step.remedy.after
    module = fixed.network.build().eval()
    assert sum(p.numel() for p in module.parameters()) == fixed.network.account().totals.parameters
    with torch.no_grad():
        assert module(torch.randn(1, *network.input)).shape[1:] == graph.outputs[0].shape


@pytest.mark.slow
@each_shallow_kind
@pytest.mark.parametrize("purpose", [Purpose(), Purpose(None, 2000, (4, 900), "t4", memory=1_000_000, latency=1e-4)])
def test_every_remedy_for_every_network_costs_what_its_change_costs_counted_from_nothing(purpose, name):
    graph = cn.network(name).graph()
    for finding in critique(graph, purpose):
        if finding.remedy and finding.remedy.change:
            after = Cost.of(account(changed(graph, finding.remedy.change)))
            assert after == finding.remedy.after, finding.rule.code
