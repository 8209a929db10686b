"""What dropout costs before batch norm and before a convolution, by rate: what the rule dropout-before-batch-norm says.

    python benchmarks/dropout_place.py

Chains of six 3x3 convolutions of 32 channels with batch norm and ReLU, and a classifier; dropout in two places, either
right before batch norm or after ReLU. Images, steps and optimiser are those of benchmarks/no_normalisation.py, at a
learning rate of 0.05, four seeds. Runs are kept in benchmarks/results/dropout_place.json as they come.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor, nn

from _machine import describe
from no_normalisation import TESTED, WIDTH, images, trained

RESULTS = Path(__file__).parent / "results" / "dropout_place.json"
CASES = (("nowhere", 0.0), *itertools.product(("before batch norm", "before a convolution"), (0.5, 0.25, 0.1)))
SEEDS, RATE = range(4), 0.05


def chain(place: str, dropout: float) -> nn.Sequential:
    """Seven layers with weights."""
    layers: list[nn.Module] = []
    for i in range(6):
        layers.append(nn.Conv2d(WIDTH if i else 1, WIDTH, 3, 2 if i in (0, 3) else 1, 1, bias=False))
        layers += [nn.Dropout(dropout)] if place == "before batch norm" and i in (1, 4) else []
        layers += [nn.BatchNorm2d(WIDTH), nn.ReLU()]
        layers += [nn.Dropout(dropout)] if place == "before a convolution" and i in (1, 3) else []
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTH, 10))


def run(
    place: str, dropout: float, seed: int, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]
) -> dict[str, Any]:
    """The accuracy after a few hundred steps."""
    torch.manual_seed(seed)
    right = trained(chain(place, dropout), RATE, train, (test[0][:TESTED], test[1][:TESTED]))
    return {"place": place, "dropout": dropout, "seed": seed, "accuracy": round(right, 4)}


def main() -> None:
    print(describe())
    torch.set_num_threads(1)
    runs = json.loads(RESULTS.read_text(encoding="utf-8"))["runs"] if RESULTS.exists() else []
    done = {(one["place"], one["dropout"], one["seed"]) for one in runs}
    train, test = images("train"), images("t10k")
    for seed, (place, dropout) in itertools.product(SEEDS, CASES):
        if (place, dropout, seed) not in done:
            runs.append(run(place, dropout, seed, train, test))
            RESULTS.write_text(json.dumps({"machine": describe(), "runs": runs}, indent=1) + "\n", encoding="utf-8")
    for place, dropout in CASES:
        found = [one["accuracy"] for one in runs if (one["place"], one["dropout"]) == (place, dropout)]
        print(f"{place:<22}{dropout:<6g}{mean(found):.1%}  ({', '.join(f'{one:.0%}' for one in found)})")


if __name__ == "__main__":
    main()
