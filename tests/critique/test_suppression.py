"""What somebody has looked at and accepts: one rule at one part."""

from __future__ import annotations

import pytest

import cnnatomy as cn
from cnnatomy.critique import RULES, Case, Finding, Purpose, Remedy, critique, fix
from cnnatomy.critique.rule import rule
from cnnatomy.critique.suppression import Suppression, suppressed
from cnnatomy.design import Chain, LinearHead, Network
from cnnatomy.edits.change import Change
from cnnatomy.layers import BatchNorm, Conv, ReLU


@rule("X1", "made-up", "warning", "nobody")
def made_up(study):
    """Something that is made up.

    For a reason.
    """
    yield Case((), "nothing", {})


def finding(*where: str, code: str = "X1", consequences: tuple[Finding, ...] = ()) -> Finding:
    remedy = Remedy("halve it", Change(), None, "safe")
    return Finding(
        made_up.__class__(code, code.lower(), "warning", "", made_up.check), "warning", where, "it is so", {}, (remedy,)
    )._replace(consequences=consequences)


def suppression(where: str = "*", code: str = "X1") -> Suppression:
    return Suppression(code, (code,), where, "it is meant", "x.yaml")


@pytest.mark.parametrize(
    ("where", "path", "covered"),
    [
        ("body.stage2", "body.stage2", True),
        ("body.stage2", "body.stage2.block1.conv", True),
        ("body.stage2", "body.stage20", False),
        ("body.stage2.*", "body.stage2.block1.conv", True),
        ("body.stage2.*", "body.stage2", False),
        ("body.*.conv1", "body.stage1.block3.conv1", True),
        ("body.stage2.block1", "body.stage2", False),
        ("*", "tail", True),
        ("*", "", True),
        ("body", "", False),
    ],
)
def test_a_place_is_a_path_a_part_around_it_or_a_pattern(where, path, covered):
    assert suppression(where).covers(path) is covered


def test_a_finding_is_accepted_with_the_reason():
    left, accepted, idle = suppressed([finding("body.conv1"), finding("tail")], [suppression("body")])
    assert [one.where for one in left] == [("tail",)]
    ((one, why),) = accepted
    assert one.where == ("body.conv1",)
    assert why.reason == "it is meant"
    assert idle == []


def test_a_finding_accepted_at_some_of_its_places_stays_at_the_others_as_advice():
    found = finding("body.a", "body.b", "head.c")
    (one,), ((there, _),), _ = suppressed([found], [suppression("body.*")])
    assert one.where == ("head.c",)
    assert one.text == "it is so (accepted at 2 of 3 places)"
    assert one.remedies == (Remedy("halve it (no fix: it is one for all places together)"),)
    assert there.where == ("body.a", "body.b")


def test_two_suppressions_together_accept_a_finding():
    left, accepted, idle = suppressed([finding("body.a", "head.c")], [suppression("body"), suppression("head")])
    assert (left, len(accepted), idle) == ([], 2, [])


def test_with_a_cause_its_consequences_are_accepted():
    cause = finding("body.a", consequences=(finding("head", code="X2"),))
    assert suppressed([cause], [suppression("body")]).left == []


def test_a_consequence_can_be_accepted_by_itself():
    cause = finding("body.a", consequences=(finding("head", code="X2"), finding("tail", code="X3")))
    (one,), _, idle = suppressed([cause], [suppression(code="X2")])
    assert [other.rule.code for other in one.consequences] == ["X3"]
    assert one.remedies == cause.remedies
    assert idle == []


def test_what_suppresses_nothing_is_idle():
    other = suppression("head")
    assert suppressed([finding("body")], [suppression("body"), other]).idle == [other]


def test_a_finding_about_the_whole_network_is_accepted_everywhere_only():
    assert suppressed([finding()], [suppression("body")]).left == [finding()]
    assert suppressed([finding()], [suppression()]).left == []


def test_what_is_accepted_is_not_fixed():
    """A ReLU after a ReLU does nothing, and is taken out, unless somebody wants it."""
    body = Chain(Conv(8, 3, bias=False), BatchNorm(), ReLU(), ReLU())
    network = Network(Conv(8, 3), body, LinearHead(10), (3, 32, 32))
    (idle,) = [one for one in critique(network) if one.rule.code == "W6"]
    accepted = Suppression("W6", ("W6",), idle.where[0], "to see", "x.yaml")
    steps = [step.finding.rule.code for step in fix(network, Purpose(), RULES).steps]
    kept = fix(network, Purpose(), RULES, suppressions=[accepted])
    assert "W6" in steps
    assert "W6" not in [step.finding.rule.code for step in kept.steps]
    assert "W6" not in [one.rule.code for one in kept.left]


def biased() -> tuple[Network, Suppression]:
    """Three convolutions with a bias before batch norm, of which the second one is to keep it."""
    body = Chain(Conv(8, 3), BatchNorm(), ReLU(), Conv(8, 3), BatchNorm(), ReLU(), Conv(8, 3), BatchNorm(), ReLU())
    network = Network(Conv(8, 3), body, LinearHead(10), (3, 32, 32))
    return network, Suppression("N2", ("N2",), "body.conv2", "to compare with the paper", "x.yaml")


def test_a_remedy_that_is_the_same_at_each_place_is_applied_at_the_others():
    network, accepted = biased()
    (found,) = [one for one in critique(network) if one.rule.code == "N2"]
    (rest,) = suppressed([found], [accepted]).left
    assert rest.where == ("body.conv1", "body.conv3")
    before = network.account().totals.parameters
    assert rest.remedy.after.parameters == before - 2 * 8
    assert rest.remedy.text.endswith("(said of 3 places; it is done, and costs that, at 2)")
    (step,) = fix(network, Purpose(), [found.rule], suppressions=[accepted]).steps
    assert step.after.totals.parameters == before - 2 * 8
    kept = {row.path: row.node.layer.bias for row in step.after.rows if isinstance(row.node.layer, Conv)}
    assert kept == {"tail": True, "body.conv1": False, "body.conv2": True, "body.conv3": False}


def test_a_remedy_for_all_places_together_is_advice_and_says_so():
    """Global pooling takes the place of two layers: with one of them accepted, it is no remedy any more."""
    network = cn.network("alexnet")
    (found,) = [one for one in critique(network) if one.rule.code == "C1"]
    (rest,) = suppressed([found], [Suppression("C1", ("C1",), "head.fc7", "meant", "x.yaml")]).left
    assert rest.remedy.text.endswith("(no fix: it is one for all places together)")
    assert (rest.remedy.fix, rest.remedy.change) == (None, None)
