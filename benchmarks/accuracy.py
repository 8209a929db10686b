"""Test accuracy of trained networks on real data: LeNet-5 on MNIST and Fashion-MNIST, a small ResNet, and transfer.

    python benchmarks/accuracy.py                      every case, about four hours on two cores
    python benchmarks/accuracy.py mnist fashion-lenet  some of them

Each training is a run folder in the cache (see `_datasets.py`), so what was interrupted goes on where it was. What is
measured is written to `benchmarks/results/accuracy.json` as it comes. Recipes were chosen on validation splits; the
figures are of networks trained on training and validation together (`fit(..., final=True)`), tested once.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

import cnnatomy as cn
from _datasets import cache, fashion_mnist, fruit, mnist, mobilenet_v2
from _machine import describe
from cnnatomy.data import load
from cnnatomy.design.network import Design
from cnnatomy.runs import RunFolder, Trained
from cnnatomy.runs.weights import sources
from cnnatomy.training import Recipe, fit

RESULTS = Path(__file__).parent / "results" / "accuracy.json"

LENET = Recipe(
    optimizer="nesterov",
    learning_rate=0.05,
    schedule="one-cycle",
    epochs=20,
    patience=0,
    batch_size=64,
    weight_decay=5e-4,
    initialisation="xavier",
)
DISTORTED = replace(LENET, epochs=30, shift=0.06, rotation=10, scale=0.1)
RESNET = Recipe(
    optimizer="nesterov",
    learning_rate=0.2,
    schedule="one-cycle",
    epochs=20,
    patience=0,
    batch_size=128,
    weight_decay=5e-4,
    decay_norms=False,
    label_smoothing=0.1,
    shift=0.07,
    flip=0.5,
    ema=0.998,
    precision="bfloat16",
    memory_format="channels_last",
)
FRUIT = Recipe(
    optimizer="nesterov",
    learning_rate=0.02,
    schedule="cosine",
    warmup=1,
    epochs=12,
    patience=0,
    batch_size=32,
    weight_decay=1e-4,
    label_smoothing=0.1,
    flip=0.5,
    scale=0.1,
    shift=0.05,
    memory_format="channels_last",
    precision="bfloat16",
)


@dataclass(frozen=True)
class Case:
    """One figure: a network on a data set by a recipe, and what is aimed at."""

    title: str
    network: Callable[[], Design]
    data: Callable[[], Path]
    recipe: Recipe
    seeds: int
    aim: str
    start: Callable[[], Trained] | None = None


def lenet() -> Design:
    return cn.network("lenet-5", classes=10)


def resnet() -> Design:
    return cn.network("resnet-20-cifar", classes=10, input=(1, 28, 28))


def mobilenet() -> Design:
    return cn.network("mobilenet-v2", classes=14, input=(3, 224, 224))


def pretrained() -> Trained:
    """MobileNet V2 with the weights of ImageNet, as a run folder of the cache."""
    place = RunFolder(cache() / "accuracy" / "mobilenet-v2-imagenet")
    if not place.run.exists():
        network = cn.network("mobilenet-v2")
        from cnnatomy.runs import folder

        done = sources.transplant(network, str(mobilenet_v2()), False)
        folder.create(place, sources.as_run(network, "mobilenet_v2-b0353104.pth"))
        sources.save(done.state, place.model, network.name)
    return Trained.load(place.path, "cpu")


CASES = {
    "mnist": Case("LeNet-5 (61,706 parameters) on MNIST", lenet, mnist, LENET, 3, "error at most 0.95 %"),
    "mnist-distorted": Case("the same with moved images", lenet, mnist, DISTORTED, 3, "error at most 0.8 %"),
    "fashion-lenet": Case("LeNet-5 on Fashion-MNIST", lenet, fashion_mnist, DISTORTED, 1, "at least 91 %"),
    "fashion-resnet": Case(
        "ResNet-20 (269,434 parameters) on Fashion-MNIST", resnet, fashion_mnist, RESNET, 1, "at least 94 %"
    ),
    "fruit-frozen": Case(
        "MobileNet V2 from ImageNet, tail and body frozen, on fruit",
        mobilenet,
        fruit,
        replace(FRUIT, freeze=("tail", "body"), learning_rate=0.1),
        1,
        "beside training from nothing",
        pretrained,
    ),
    "fruit-nothing": Case("MobileNet V2 from nothing on fruit", mobilenet, fruit, FRUIT, 1, "beside the frozen body"),
}


def measured(name: str, case: Case, seed: int) -> dict[str, Any]:
    """Trains, or goes on, and gives the figures of the test split."""
    folder = cache() / "accuracy" / f"{name}-{seed}"
    if RunFolder(folder).summary.exists():
        summary = json.loads(RunFolder(folder).summary.read_text())
    else:
        network = case.network()
        data = load(case.data(), network.input)
        start = case.start() if case.start is not None else None
        trained = fit(
            network,
            data,
            replace(case.recipe, seed=seed),
            folder,
            resume=RunFolder(folder).run.exists(),
            start=start,
            final=True,
        )
        assert trained.outcome is not None
        summary = dict(trained.outcome.summary)
    test, training = summary["test"], summary["training"]
    return {
        "seed": seed,
        "top_1": test["top_1"],
        "interval": test["interval"],
        "epochs": training["epochs"],
        "seconds": round(training["seconds"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", choices=[*CASES, []], default=[], help="which of them; by default all")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name in options.cases or CASES:
        case = CASES[name]
        runs = []
        for seed in range(case.seeds):
            runs.append(measured(name, case, seed))
            results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
            accuracy = statistics.mean(run["top_1"] for run in runs)
            results[name] = {
                "title": case.title,
                "aim": case.aim,
                "top_1": accuracy,
                "error": 1 - accuracy,
                "runs": runs,
                "recipe": {
                    key: value for key, value in case.recipe.as_dict().items() if value != Recipe().as_dict()[key]
                },
                "machine": describe(),
            }
            RESULTS.parent.mkdir(exist_ok=True)
            RESULTS.write_text(json.dumps(results, indent=2) + "\n")
            print(
                f"{case.title}, seed {seed}: {runs[-1]['top_1']:.2%}; mean {accuracy:.2%}; aim: {case.aim}", flush=True
            )


if __name__ == "__main__":
    main()
