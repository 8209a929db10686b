"""Reading a torch module and accounting for all of it: how long, and how right, beside other people's tools.

    python benchmarks/other_tools.py [MODEL ...] [--path FOLDER ...] [--write docs/peers.md]

Every tool runs in a process of its own, on 20 models of torchvision and timm in evaluation mode, batch 1; importing it
and making the model are not timed. `--path` names folders that tools are in, as `pip install --target FOLDER` makes
them. A tool is taken from the folder that has its distribution, so that thop and ultralytics-thop, which are both
imported as `thop`, may each have one. What is missing is left out and said. The page says how to get them all.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _machine import describe
from _tools import EXTRA, PROBE_CONV, PROBES, TOOLS, flop_counter, made

MODELS = (
    "torchvision:alexnet torchvision:vgg16 torchvision:googlenet torchvision:inception_v3 torchvision:resnet18"
    " torchvision:resnet50 torchvision:resnet152 torchvision:resnext50_32x4d torchvision:densenet121"
    " torchvision:squeezenet1_0 torchvision:mobilenet_v2 torchvision:mobilenet_v3_large torchvision:shufflenet_v2_x1_0"
    " torchvision:efficientnet_b0 torchvision:regnet_y_400mf torchvision:convnext_tiny torchvision:vit_b_16"
    " timm:seresnet50 timm:resnetv2_50 timm:hrnet_w18_small"
)
ToolResult = dict[str, Any]
"""Of one tool on one model: seconds, macs, parameters and the number of runs; or an error."""
Key = tuple[str, str]
"""Tool and device."""

OURS: Key = ("cnnatomy", "meta")
ALONE = "eager forward alone"
KEYS: list[Key] = [OURS, ("cnnatomy", "cpu"), (ALONE, "cpu")]
KEYS += [(name, device) for name in TOOLS for device in ("cpu", "meta") if name not in (OURS[0], ALONE, "onnx-tool")]
KEYS += [("onnx-tool", "cpu")]
PEERS = [key for key in KEYS if key[0] not in (OURS[0], ALONE)]

WORDS = {
    "FlopCounterMode": """torch's own, and the judge: convolutions, matrix products and attention, as torch's kernels
        run, and nothing else. On the CPU `nn.MultiheadAttention` is one fused kernel, which it does not know.""",
    "torchinfo": """multiplies the parameters of a module by the positions of its output if its class is called Conv,
        and counts them once if it is not: so a bias of a convolution is a MAC for each output, a batch norm costs
        its parameters once, and so does a fully connected layer however many tokens it is applied to. Functions and
        attention cost nothing.""",
    "fvcore": """follows torch.jit's trace, which fails on the meta device: a batch norm is two for each element, a
        layer norm five, an average over the map one for each input. Activations, additions and fused attention cost
        nothing.""",
    "ptflops": """counts biases, elements of norms, activations and pools with the MACs; modules that call a function
        which it has replaced as well (ReLU, pools) count twice. Operators (`+`, `*`) and `F.linear` cost nothing.""",
    "thop": """hooks on the types of module that it knows: four for each element of a norm (two without weights), one
        for each input of an average. Functions and unknown types, `nn.MultiheadAttention` among them, cost nothing and
        have no parameters.""",
    "ultralytics-thop": """the maintained fork of thop: norms and averages as there; it also sees matrix products,
        `F.linear` and attention as functions, and counts the softmax of `nn.MultiheadAttention`.""",
    "calflops": """replaces functions of torch by counting ones. Its MACs are those of convolutions, `F.linear` and
        `matmul`; attention by `scaled_dot_product_attention` is missed.""",
    "deepspeed": """its FLOPs profiler works as that of calflops, which came from it, and knows attention.""",
    "torchview": """draws graphs and counts nothing: it is here for its time alone.""",
    "onnx-tool": """reads an exported file; neither the export nor its weights' making is timed. Biases, additions and
        comparisons are one MAC, a division is 4, an exponential 32. Exporters fold batch norms into convolutions.""",
}
"""What each counts as a MAC, read in its source; the table of small things below it shows most of this in numbers."""


def collected(models: list[str], folders: list[str]) -> tuple[dict[Key, dict[str, ToolResult]], dict[str, str]]:
    """The results of every tool, and its version."""
    results: dict[Key, dict[str, ToolResult]] = {}
    versions: dict[str, str] = {}
    names = [*models, *(f"probe:{name}" for name in PROBES)]
    paths = [part for folder in folders for part in ("--path", folder)]
    for key in KEYS:
        print(*key, file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "results.json"
            program = [sys.executable, str(Path(__file__).with_name("_tools.py")), *key, str(file), *names, *paths]
            ran = subprocess.run(program, capture_output=True, text=True, check=False)
            if file.exists():
                found = json.loads(file.read_text(encoding="utf-8"))
                results[key], versions[key[0]] = found["results"], found["version"]
            else:
                last = (ran.stderr.strip().splitlines() or ["it said nothing"])[-1]
                results[key] = {name: {"error": last[:160]} for name in names}
    return results, versions


def table(head: list[str], rows: Iterator[list[str]]) -> list[str]:
    """Markdown; numbers at the right."""
    lines = ["| " + " | ".join(row) + " |" for row in [head, *rows]]
    return ["", lines[0], "| --- |" + " ---: |" * (len(head) - 1), *lines[1:], ""]


def prose(text: str) -> list[str]:
    """A paragraph."""
    return ["", *textwrap.wrap(" ".join(text.split()), 150, break_on_hyphens=False), ""]


def short(model: str) -> str:
    return model.partition(":")[2]


class Page:
    """What `--write` writes."""

    def __init__(self, models: list[str], results: dict[Key, dict[str, ToolResult]], versions: dict[str, str]) -> None:
        self.models, self.results, self.versions = models, results, versions
        self.truth = {model: truth(model) for model in models}

    def text(self) -> str:
        """All of it."""
        parts = [self.opening(), self.times(), self.macs(), self.parameters(), self.failures()]
        lines = [line for part in parts for line in part]
        kept = [line for before, line in zip(["", *lines], lines, strict=False) if line or before]  # one empty line
        return "\n".join(kept) + "\n"

    def seconds(self, key: Key, model: str) -> float | None:
        return self.results[key][model].get("seconds")

    def ratios(self, key: Key) -> list[float]:
        """How many times as long as ours, on each model on which both ran."""
        pairs = [(self.seconds(key, model), self.seconds(OURS, model)) for model in self.models]
        return [theirs / ours for theirs, ours in pairs if theirs and ours]

    def fastest(self) -> list[float]:
        """On each model, how many times as long as ours the fastest peer took."""
        found = []
        for model in self.models:
            peers = [seconds for key in PEERS if (seconds := self.seconds(key, model))]
            ours = self.seconds(OURS, model)
            found += [min(peers) / ours] if peers and ours else []
        return found

    def opening(self) -> list[str]:
        versions = [f"{name} {self.versions[name]}" for name in TOOLS if name in self.versions and name != ALONE]
        return [
            "# Beside other people's tools",
            *prose(f"""Every tool reads {len(self.models)} models of torchvision and timm, in evaluation mode, batch 1,
                and says how many MACs and parameters they have; each in a process of its own, importing it and making
                the model not counted. Written by `benchmarks/other_tools.py` on {describe()}.
                {", ".join(versions)}."""),
            "```sh",
            "pip install --no-deps --target peers torchinfo fvcore iopath yacs tabulate termcolor portalocker tqdm \\",
            "    ptflops ultralytics-thop calflops torchview graphviz deepspeed hjson py-cpuinfo psutil onnx-tool",
            "pip install --no-deps --target peers-thop thop  # imported by the same name as ultralytics-thop",
            "pip install --no-deps --target peers-hf transformers accelerate tokenizers regex  # calflops imports them",
            "python benchmarks/other_tools.py --path peers --path peers-thop --path peers-hf --write docs/peers.md",
            "```",
            "",
        ]

    def times(self) -> list[str]:
        fastest, lines = self.fastest(), ["## How long"]
        medians = {key: statistics.median(ratios) for key in PEERS if (ratios := self.ratios(key))}
        if medians:
            (name, device), least = min(medians.items(), key=lambda item: item[1])
            where = "the CPU" if device == "cpu" else "the meta device"
            lines += prose(f"""**At the median over the models the fastest peer, {name} on {where}, takes
                {least:.1f} times as long as cnnatomy.** Against whichever tool and device is fastest on each model, of
                {len(medians)}, it is {statistics.median(fastest):.1f} times (from {min(fastest):.1f} to
                {max(fastest):.1f}). Tool by tool:""")
        lines += table(["times as long as cnnatomy", "median", "least", "most", "models"], self.ratio_rows())
        lines += prose("""Milliseconds: medians of 5 runs after one to warm up, of 2 where a run takes more than 2 s.
            First with the model on torch's meta device, on which nothing is computed; then on the CPU, with weights.
            cnnatomy computes nothing on either. A warm-up helps it as it helps others: it remembers layers that it has
            met.""")
        return lines + self.milliseconds("meta") + self.milliseconds("cpu")

    def milliseconds(self, device: str) -> list[str]:
        """The times on one device."""
        keys = [key for key in self.ran() if key[1] == device]

        def row(model: str) -> list[str]:
            seconds = [self.seconds(key, model) for key in keys]
            return [short(model), *("failed" if s is None else f"{1e3 * s:.1f}" for s in seconds)]

        return table([f"ms, {device}", *(name for name, _ in keys)], map(row, self.models))

    def ran(self) -> list[Key]:
        """The tools that did something."""
        return [key for key in KEYS if any(self.seconds(key, model) for model in self.models)]

    def ratio_rows(self) -> Iterator[list[str]]:
        for key in self.ran():
            ratios = self.ratios(key)
            if key[0] != OURS[0] and ratios:
                numbers = [f"{pick(ratios):.1f}" for pick in (statistics.median, min, max)]
                yield [f"{key[0]}, {key[1]}", *numbers, str(len(ratios))]

    def best(self, name: str, model: str, field: str) -> float | None:
        """What a tool counts, on the CPU if it runs there."""
        for device in ("cpu", "meta"):
            got: float | None = self.results.get((name, device), {}).get(model, {}).get(field)
            if got is not None:
                return got
        return None

    def counting(self, field: str) -> list[str]:
        """The tools that say this number."""
        return [name for name in TOOLS if any(self.best(name, model, field) is not None for model in self.models)]

    def compared(self, field: str, which: int) -> list[str]:
        """Every tool beside the truth."""
        names = self.counting(field)

        def row(model: str) -> list[str]:
            wanted = self.truth[model][which]
            return [short(model), f"{wanted:,}", *(percent(self.best(name, model, field), wanted) for name in names)]

        exact = {name: sum(row[2 + i] == "exact" for row in map(row, self.models)) for i, name in enumerate(names)}
        rows = [*map(row, self.models), ["exact", "", *(f"{exact[name]} of {len(self.models)}" for name in names)]]
        return table(["model", "truth", *names], iter(rows))

    def macs(self) -> list[str]:
        names = self.counting("macs")
        return [
            "## MACs",
            *prose("""The truth is half of what torch's `FlopCounterMode` counts on the meta device. Differences are in
                per cent of it; tools run on the CPU where they can."""),
            *self.compared("macs", 0),
            *prose("What each tool calls a MAC:"),
            *(f"- **{name}**: {' '.join(text.split())}" for name, text in WORDS.items() if name in self.versions),
            *prose("""In numbers: what a tool adds for each element of the input of a small thing (8x16x16, after a
                convolution); in the last three rows, for each MAC of it."""),
            *table(["", *names], ([name, *(self.each(tool, name) for tool in names)] for name in PROBES)),
        ]

    def each(self, tool: str, probe: str) -> str:
        """What a tool counts for one element of something small."""
        got = self.best(tool, f"probe:{probe}", "macs")
        if got is None:
            return "failed"
        return f"{(got - PROBE_CONV - EXTRA.get(probe, 0)) / PROBES[probe][1]:.3g}"

    def parameters(self) -> list[str]:
        return [
            "## Parameters",
            *prose("""The truth is `sum(p.numel() for p in module.parameters())`. thop sums up the types of module that
                it knows; an exported file has lost the parameters of batch norms that were folded into convolutions,
                and holds constants that nobody learned."""),
            *self.compared("parameters", 1),
        ]

    def failures(self) -> list[str]:
        lines = ["## What failed", ""]
        for key in KEYS:
            errors: dict[str, list[str]] = {}
            for name, result in self.results[key].items():
                if "error" in result:
                    errors.setdefault(result["error"], []).append(short(name))
            for error, names in errors.items():
                where = "everything" if len(names) == len(self.results[key]) else ", ".join(names)
                lines.append(f"- {key[0]}, {key[1]}, on {where}: `{error}`")
        return lines if len(lines) > 2 else [*lines, "Nothing."]


def truth(model: str) -> tuple[int, int]:
    """MACs by torch's own counter, and parameters."""
    module, x = made(model, "meta")
    macs, _ = flop_counter(module, x)
    return int(macs or 0), sum(p.numel() for p in module.parameters())


def percent(got: float | None, wanted: int) -> str:
    if got is None:
        return "failed"
    return "exact" if got == wanted else f"{100 * (got - wanted) / wanted:+.2g} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS.split())
    parser.add_argument("--path", action="append", default=[])
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    text = Page(list(options.models), *collected(list(options.models), options.path)).text()
    print(text)
    if options.write:
        options.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
