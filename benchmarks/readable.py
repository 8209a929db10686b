"""How many of all timm models the reader of torch modules reads: wholly counted, in part, or not at all.

    python benchmarks/readable.py [PATTERN] [--json readable.json]

Prints one line for each model that is not wholly counted, and the totals. No weights are made: all is on the meta
device.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import cnnatomy as cn
from cnnatomy.analysis import account
from peers import timm


def made(name: str) -> torch.nn.Module:
    """A timm model on the meta device; some read values while they are made, so those are made and moved."""
    try:
        with torch.device("meta"):
            return timm().create_model(name).eval()
    except Exception:
        return timm().create_model(name).to("meta").eval()


def verdict(name: str) -> dict[str, Any]:
    """What became of one model."""
    try:
        module = made(name)
    except Exception as error:
        return {"name": name, "read": "not made", "why": f"{type(error).__name__}: {error}"}
    shape = tuple(module.default_cfg["input_size"])
    start = time.perf_counter()
    try:
        graph = cn.read(module, shape)
    except cn.UserError as error:
        return {"name": name, "read": "not read", "why": str(error)}
    totals = account(graph).totals
    milliseconds = 1e3 * (time.perf_counter() - start)
    unknown = sorted({getattr(node.layer, "what", "") for node in graph if node.layer.kind == "not counted"})
    unused = sum(torch.Size(size).numel() for _, size in graph.unused)
    exact = totals.parameters + unused == sum(p.numel() for p in module.parameters())
    read = "in part" if unknown else "wholly" if exact else "parameters differ"
    return {"name": name, "read": read, "why": ", ".join(unknown), "milliseconds": round(milliseconds, 1)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("pattern", nargs="?", default="*")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    verdicts = []
    for name in timm().list_models(options.pattern):
        verdicts.append(verdict(name))
        if verdicts[-1]["read"] != "wholly":
            print(f"{name}: {verdicts[-1]['read']}: {verdicts[-1]['why'][:200]}", flush=True)
    print(f"timm {timm().__version__}, torch {torch.__version__}: {len(verdicts)} models")
    for read, count in Counter(v["read"] for v in verdicts).most_common():
        print(f"{read}: {count}")
    if options.json:
        options.json.write_text(json.dumps(verdicts, indent=1))


if __name__ == "__main__":
    main()
