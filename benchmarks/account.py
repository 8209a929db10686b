"""How long it takes to describe and count a network, beside building it in torch and running torchinfo on it.

    python benchmarks/account.py [NETWORK ...]

"describe + account" makes the network and its whole account from nothing: parameters, operations of every kind,
feature maps, receptive fields. "memory" replays an inference and a training step on sizes alone. "torchinfo" builds
the same network in torch and summarises it. Then both as processes of their own, as a command line or CI step runs
them; ours from the catalogue, and from the network written as YAML.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import cnnatomy as cn
from _machine import describe
from cnnatomy.analysis.memory import footprint as memory
from cnnatomy.readers.yaml import design


def median(action: Callable[[], object], times: int) -> float:
    """Median seconds of some runs after one to warm up."""
    action()
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def process(*command: str) -> float:
    """Median seconds of a command as a process."""
    return median(lambda: subprocess.run(command, check=True, capture_output=True), 5)


TORCHINFO = """
import torch, torchinfo, cnnatomy
net = cnnatomy.network({name!r})
print(torchinfo.summary(net.build(), (1, *net.input), verbose=0))
"""


def main(names: list[str]) -> None:
    import torchinfo

    print(describe())
    print(f"{'network':<14}{'describe + account':>20}{'memory':>16}{'build':>11}{'torchinfo':>11}{'ratio':>8}")
    for name in names:
        network = cn.network(name)
        ours = median(lambda name=name: cn.network(name).account().totals, 50)
        graph = network.graph()
        replays = [median(lambda run=run, graph=graph: run(graph), 20) for run in (memory.inference, memory.training)]
        build = median(network.build, 5)
        module, shape = network.build(), (1, *network.input)
        theirs = median(lambda module=module, shape=shape: torchinfo.summary(module, shape, verbose=0), 5)
        ratio = (build + theirs) / ours
        replayed = " + ".join(f"{seconds * 1e3:.1f}" for seconds in replays) + " ms"
        line = f"{name:<14}{ours * 1e3:>17.2f} ms{replayed:>16}{build * 1e3:>8.0f} ms{theirs * 1e3:>8.0f} ms"
        print(f"{line}{ratio:>7.0f}x")
    name = names[0]
    shown = process(sys.executable, "-m", "cnnatomy", "show", name)
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(design.write(cn.network(name)))
        file.flush()
        read = process(sys.executable, "-m", "cnnatomy", "show", file.name)
    torch = process(sys.executable, "-c", "import torch")
    summary = process(sys.executable, "-c", TORCHINFO.format(name=name))
    print(f"as processes: cnnatomy show {name} {shown:.2f} s, of its YAML {read:.2f} s;", end=" ")
    print(f"import torch alone {torch:.2f} s; torchinfo {summary:.2f} s")
    print(f"ratio torchinfo / cnnatomy show: {summary / shown:.1f}x")


if __name__ == "__main__":
    main(sys.argv[1:] or ["resnet-50", "resnet-152", "densenet-121", "googlenet", "vgg-16", "lenet-5"])
