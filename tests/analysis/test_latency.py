"""The calibrated model: its fit, its file, and which kernels torch takes."""

from __future__ import annotations

import dataclasses
import json
import random

import pytest
import torch

import cnnatomy as cn
from cnnatomy.analysis.memory.pages import fresh
from cnnatomy.analysis.time import latency
from cnnatomy.analysis.time.kernels import Work, convolution_kernel, work
from cnnatomy.analysis.time.latency import Calibration, LatencyModel, Sample
from cnnatomy.errors import UserError
from cnnatomy.layers import LAYERS, Add, Conv, Hardswish, Multiply, ReLU, Shift, Softmax, Tanh
from cnnatomy.layers.layer import pair
from cnnatomy.timing.plan import plan

OVERHEAD, RATE, BANDWIDTH, PAGE = 5e-6, 50e9, 10e9, 4e-10


def seconds(work: Work) -> float:
    """A machine whose kernels are exactly as the model says."""
    return OVERHEAD + work.operations / RATE + (work.read + work.weights + work.written) / BANDWIDTH


def samples() -> tuple[Sample, ...]:
    works = (work(t.layer, t.inputs, t.layer.output_shape(*t.inputs), t.batch, threads=1) for t in plan())
    return tuple(Sample(w, *3 * [seconds(w)]) for w in works)


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return Calibration(latency.machine(), 1, 1e-6, PAGE, "2026-01-01T00:00:00+00:00", 0.04, samples())


@pytest.fixture
def kept(calibration, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    from cnnatomy.timing.calibrate import save

    return save(calibration)


def test_a_machine_that_is_as_the_model_says_is_predicted_exactly():
    draw = random.Random(1)
    timed = []
    for _ in range(60):
        numbers = [int(10 ** draw.uniform(4, 7)) for _ in range(4)]
        w = Work("convolution", *numbers, place=(float(len(str(numbers[0]))),))
        timed.append((w, seconds(w)))
    model = LatencyModel(timed)
    for w, took in timed:
        assert model.seconds(w) == pytest.approx(took, rel=0.02)


def test_what_finds_its_weights_in_the_caches_is_as_fast_as_it_was_timed_hot_and_so_on(calibration):
    relu = work(ReLU(), ((64, 56, 56),), (64, 56, 56))
    states = [Sample(relu, 1e-5, 2e-5, 4e-5)] * 3
    machine = Calibration(latency.machine(), 1, 1e-6, PAGE, "", 0.0, tuple(states))
    assert machine.seconds(relu, before=0, weights=0) == pytest.approx(1e-5)
    assert machine.seconds(relu, before=0, weights=10**12) == pytest.approx(2e-5, rel=1e-3)
    assert machine.seconds(relu, before=10**12, weights=10**12) == pytest.approx(4e-5, rel=1e-3)


@pytest.mark.slow
def test_every_class_of_kernels_is_timed_and_every_common_layer_has_one(calibration):
    assert len(calibration.models) >= 20
    for name in (
        "alexnet",
        "vgg-16-bn",
        "googlenet",
        "densenet-121",
        "se-resnet-50",
        "mobilenet-v2",
        "nasnet-a-mobile",
    ):
        assert calibration.predict(cn.network(name).account()).unknown == ()


def test_the_class_that_a_layer_names_is_one_that_is_timed(calibration):
    named = {kind.timed_as for kind in LAYERS} - {""}
    assert len(named) > 10
    assert named <= set(calibration.models)


def test_a_layer_says_which_kernels_compute_it():
    x = (8, 4, 4)
    assert [layer.kernels(x) for layer in (Hardswish(), Tanh(), Softmax(), Shift())] == [
        "clamp",
        "exponential",
        "exponential",
        "",
    ]
    assert [Multiply().kernels(x, y) for y in (x, (8, 1, 1))] == ["add", "gate"]
    assert work(Add(), (x, x), x).kernel == "add"


def test_a_network_takes_the_sum_of_its_layers(calibration):
    account = cn.network("resnet-18").account()
    prediction = calibration.predict(account)
    assert prediction.seconds == pytest.approx(sum(prediction.rows) + len(account.rows) * 1e-6)
    works = [work(r.node.layer, r.inputs, r.output, 1, 1) for r in account.rows]
    assert prediction.seconds == pytest.approx(sum(map(seconds, works)), rel=0.1)


def test_memory_that_is_fetched_again_takes_its_time(calibration):
    account = cn.network("mobilenet-v2").account()
    free = dataclasses.replace(calibration, page=1e-30)
    works = {row.path: work(row.node.layer, row.inputs, row.output, 16, 1) for row in account.rows}
    fetched = sum(fresh(account.graph, works, 16).values())
    more = calibration.predict(account, 16).seconds - free.predict(account, 16).seconds
    assert more == pytest.approx(PAGE * fetched)
    assert calibration.predict(account).seconds == pytest.approx(free.predict(account).seconds)


@pytest.mark.parametrize("name", ["alexnet", "resnet-50", "mobilenet-v2", "squeezenet-1.1"])
def test_a_larger_batch_takes_longer(calibration, name):
    account = cn.network(name).account()
    times = [calibration.predict(account, batch).seconds for batch in (1, 2, 4, 8, 16, 32)]
    assert times == sorted(times)


def test_what_no_kernel_was_timed_for_is_named(calibration):
    account = cn.network("shiftnet-a").account()
    unknown = calibration.predict(account).unknown
    assert unknown
    assert all("Shift" in row.layer for row in account.rows if row.path in unknown)


def test_the_file_holds_the_whole_calibration(kept, calibration):
    assert latency.path() == kept
    assert latency.load() == calibration


@pytest.mark.parametrize("key", ["cpu", "cores", "threads", "torch"])
def test_another_machine_has_to_be_measured_again(kept, monkeypatch, key):
    other = latency.machine() | {key: "other"}
    monkeypatch.setattr(latency, "machine", lambda: other)
    assert latency.load() is None
    with pytest.raises(UserError, match="run `cnnatomy calibrate` once"):
        latency.required()


def test_omp_num_threads_is_part_of_the_machine(kept, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert latency.machine()["threads"] == "7"
    assert latency.load() is None


def damage(record: dict, change) -> str:
    change(record)
    return json.dumps(record)


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.update(format=0),
        lambda record: record.update(samples=[]),
        lambda record: record.update(samples=[[1, 2]]),
        lambda record: record.update(glue=-1),
        lambda record: record.update(page="much"),
        lambda record: record["samples"][0].__setitem__(-1, float("nan")),
        lambda record: record.pop("machine"),
    ],
)
def test_a_damaged_or_outdated_file_is_as_none(kept, change):
    kept.write_text(damage(json.loads(kept.read_text()), change))
    assert latency.load() is None


def test_half_a_file_is_as_none(kept):
    kept.write_text(kept.read_text()[:1000])
    assert latency.load() is None


CONVOLUTIONS = [
    (Conv(out, kernel, stride, padding=0, groups=groups), (channels, size, size), batch)
    for out, channels, groups in ((16, 3, 1), (64, 64, 1), (256, 64, 1), (64, 64, 2), (64, 64, 64))
    for kernel in (1, 3, 5, (1, 3))
    for stride in (1, 2)
    for size in (7, 28)
    for batch in (1, 4, 16)
]


@pytest.mark.parametrize("threads", [1, 2])
def test_torch_takes_onednn_where_we_say(threads):
    """torch itself says which back end it would take."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for conv, shape, batch in CONVOLUTIONS:
            x = torch.empty(batch, *shape)
            weight = torch.empty(conv.parameters(shape)["weight"])
            sizes = (list(pair(conv.stride)), [0, 0], list(pair(conv.dilation)))
            taken = torch._C._select_conv_backend(x, weight, None, *sizes, False, [0, 0], conv.groups).name
            said = convolution_kernel(conv, shape, batch, threads)
            assert taken == ("Slow2d" if "as matrix" in said else "Mkldnn"), (conv, shape, batch)
    finally:
        torch.set_num_threads(before)
