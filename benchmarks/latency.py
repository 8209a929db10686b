"""How well the calibrated model predicts the time of networks: 25 of the catalogue, eager torch, this machine.

    python benchmarks/latency.py [--batch B] [--repetitions N] [NETWORK ...]

Prints prediction and measurement (median of the repetitions, quartiles), their rank correlation (Spearman), the median
and worst error, and for each class of kernels how the sum of its layers' predictions stands to the sum of their
measurements. `cnnatomy calibrate` comes first. No network of the list is measured for the calibration.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from statistics import mean, median

import cnnatomy as cn
from _machine import describe
from cnnatomy.analysis.time import latency
from cnnatomy.analysis.time.kernels import work
from cnnatomy.timing.measure import measure

NETWORKS = [
    *("lenet-5", "alexnet", "zfnet", "vgg-11", "vgg-16", "vgg-16-bn", "mobilenet-v1-1.0", "mobilenet-v1-0.5"),
    *("googlenet", "bn-inception", "inception-v3", "squeezenet-1.0", "squeezenet-1.1", "densenet-121", "densenet-169"),
    *("resnet-18", "resnet-34", "resnet-50", "resnet-101", "resnext-50-32x4d", "se-resnet-50", "mobilenet-v2"),
    *("xception", "shufflenet-g3", "nasnet-a-mobile"),
]


def ranks(values: list[float]) -> list[float]:
    order = sorted(range(len(values)), key=values.__getitem__)
    return [float(order.index(i)) for i in range(len(values))]


def rank_correlation(a: list[float], b: list[float]) -> float:
    """Spearman's."""
    x, y = ranks(a), ranks(b)
    middle = mean(x)
    return sum((p - middle) * (q - middle) for p, q in zip(x, y, strict=True)) / sum((p - middle) ** 2 for p in x)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repetitions", type=int, default=11)
    options = parser.parse_args()
    calibration = latency.required()
    print(describe())
    print(f"calibrated {calibration.date}, {calibration.threads} threads; batch {options.batch}")
    print(f"{'network':<20}{'predicted':>12}{'measured':>12}{'quartiles':>20}{'error':>8}  not predicted")
    predictions, measurements = [], []
    classes: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for name in options.networks:
        network = cn.network(name)
        account = network.account()
        prediction = calibration.predict(account, options.batch)
        measured = measure(account.graph, options.batch, options.repetitions)
        predictions.append(prediction.seconds)
        measurements.append(measured.whole.median)
        error = predictions[-1] / measurements[-1] - 1
        whole = measured.whole
        print(
            f"{name:<20}{prediction.seconds * 1e3:>9.2f} ms{whole.median * 1e3:>9.2f} ms"
            f"{whole.lower * 1e3:>10.2f}–{whole.upper * 1e3:<9.2f}{error:>+8.1%}  {len(prediction.unknown) or ''}",
            flush=True,
        )
        for row, seconds in zip(account.rows, prediction.rows, strict=True):
            if seconds is not None and row.path in measured.layers:
                kernel = work(row.node.layer, row.inputs, row.output, options.batch, calibration.threads).kernel
                classes[kernel][0] += seconds
                classes[kernel][1] += measured.layers[row.path].median
    errors = [abs(p / m - 1) for p, m in zip(predictions, measurements, strict=True)]
    print(f"\nrank correlation {rank_correlation(predictions, measurements):.3f} (target 0.97)")
    print(f"median error {median(errors):.1%} (target 15%), worst {max(errors):.1%}")
    print(f"\n{'class of kernels':<32}{'predicted':>12}{'measured':>12}{'error':>8}  (sums over all layers)")
    for kernel, (predicted, measured_sum) in sorted(classes.items(), key=lambda item: -item[1][1]):
        error = predicted / measured_sum - 1
        print(f"{kernel:<32}{predicted * 1e3:>9.2f} ms{measured_sum * 1e3:>9.2f} ms{error:>+8.1%}")


if __name__ == "__main__":
    main()
