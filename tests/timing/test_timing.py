"""Clocks: that they run and say what was timed. How fast anything is, is a matter for benchmarks/."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from click.testing import CliRunner

import cnnatomy as cn
from cnnatomy.analysis.time import latency
from cnnatomy.cli import main
from cnnatomy.errors import UserError
from cnnatomy.layers import Add, Conv, FullyConnected, ReLU
from cnnatomy.layers.layer import elements
from cnnatomy.report import timings
from cnnatomy.timing import calibrate
from cnnatomy.timing.measure import Spread, measure
from cnnatomy.timing.plan import MAX_MACS, MAX_NUMBERS, Trial, plan

FEW = [
    Trial(Conv(8, 3, padding=1, bias=False), ((4, 8, 8),), 1),
    Trial(ReLU(), ((4, 8, 8),), 1),
    Trial(ReLU(), ((16, 8, 8),), 4),
    Trial(FullyConnected(10), ((64,),), 1),
    Trial(Add(), ((4, 8, 8), (4, 8, 8)), 1),
]


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "120")


def run(*arguments: str) -> str:
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code == 0, result.output
    return result.stdout


def test_every_layer_is_timed_and_the_module_left_without_hooks():
    graph = cn.network("lenet-5").graph()
    measured = measure(graph, batch=2, repetitions=3)
    assert set(measured.layers) == {node.path for node in graph.nodes}
    assert all(0 < s.fastest <= s.lower <= s.median <= s.upper for s in (measured.whole, *measured.layers.values()))
    assert (measured.batch, measured.repetitions, measured.threads) == (2, 3, torch.get_num_threads())


def test_a_spread_is_median_quartiles_and_fastest():
    assert Spread.of([5, 1, 3, 2, 4]) == (3, 2, 4, 1)
    assert Spread.of([2.0]) == (2, 2, 2, 2)


def test_a_batch_larger_than_the_memory_is_refused_before_anything_is_allocated():
    with pytest.raises(UserError, match="does not fit the memory"):
        measure(cn.network("lenet-5").graph(), batch=10**9)


def test_the_plan_is_always_the_same_and_within_bounds():
    assert plan() == plan()
    for layer, inputs, batch in plan():
        output = layer.output_shape(*inputs)
        assert batch * layer.operations(inputs, output).mac <= MAX_MACS or isinstance(layer, FullyConnected)
        assert batch * max(elements(shape) for shape in (*inputs, output)) <= MAX_NUMBERS


def test_calibration_times_every_trial_and_says_how_far_it_is():
    steps = []
    measured = calibrate.calibrate(2, FEW, lambda done, of: steps.append((done, of)))
    assert [sample.work.kernel for sample in measured.samples] == [
        "convolution as matrix",
        "clamp",
        "clamp",
        "matrix by vector",
        "add",
    ]
    assert all(min(sample[1:]) > 0 for sample in measured.samples)
    assert steps == [(i + 1, 10) for i in range(10)]
    assert measured.device().flops["float32"] > 0
    assert measured.noise >= 0


@pytest.mark.slow
def test_a_busy_machine_is_said():
    measured = dataclasses.replace(calibrate.calibrate(1, FEW), noise=0.5)
    assert "the machine was busy" in timings.calibration(measured, "a file", "table")
    assert "the machine was busy" not in timings.calibration(dataclasses.replace(measured, noise=0.05), "", "table")


def test_a_cache_that_cannot_be_written_is_said(cache, monkeypatch, tmp_path):
    (tmp_path / "cache").write_text("a file where a folder is needed")
    with pytest.raises(UserError, match=r"cannot write .* set XDG_CACHE_HOME"):
        calibrate.save(calibrate.calibrate(1, FEW))


def test_the_commands_before_and_after_a_calibration(cache, monkeypatch):
    said = CliRunner().invoke(main, ["roofline", "lenet-5"])
    assert said.exit_code == 2
    assert "run `cnnatomy calibrate` once" in said.output
    assert "no prediction: run `cnnatomy calibrate`" in run("time", "lenet-5", "--repetitions", "2")

    monkeypatch.setattr(calibrate, "plan", lambda: FEW)
    told = json.loads(run("calibrate", "--format", "json"))
    assert {kernel["kernel"] for kernel in told["kernels"]} >= {"clamp", "add"}
    assert latency.load() is not None

    timed = json.loads(run("time", "lenet-5", "--repetitions", "2", "--format", "json"))
    assert [node["path"] for node in timed["nodes"]] == [row.path for row in cn.network("lenet-5").account().rows]
    assert timed["whole"]["predicted"] > 0
    assert "predicted" in run("time", "lenet-5", "--repetitions", "2")
    assert "whose kernels were not timed" in run("roofline", "lenet-5")


def test_the_roofline_command_prints_sums_of_its_lines():
    told = json.loads(run("roofline", "resnet-18", "--device", "h100-sxm", "--dtype", "float16", "--format", "json"))
    assert sum(node["flops"] for node in told["nodes"]) == 2 * cn.network("resnet-18").account().totals.macs
    assert told["totals"]["seconds"] == pytest.approx(sum(node["seconds"] for node in told["nodes"]))
    assert told["device"]["ridge"] == pytest.approx(989.4e12 / 3.35e12)
