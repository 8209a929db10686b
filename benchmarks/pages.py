"""How many new pages the model of glibc's heap predicts for a pass, beside the page faults that the system counts.

    python benchmarks/pages.py [--batch B] [--processes N] [NETWORK ...]

Each count is the third pass of a process of its own, one thread. What else a process holds moves blocks, and with them
what is given back: the counts of one network differ, so the least, the median and the most are printed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from statistics import median

import cnnatomy as cn
from _machine import describe
from cnnatomy.analysis.memory.pages import fresh
from cnnatomy.analysis.time.kernels import work

NETWORKS = ["mobilenet-v2", "mobilenet-v1-1.0", "squeezenet-1.1", "shufflenet-g3", "resnet-18", "googlenet", "alexnet"]
MIB = 2**20

COUNT = """
import json, resource, sys, torch
import cnnatomy as cn
from cnnatomy.timing.measure import settle_allocator
torch.set_num_threads(1)
network = cn.network(sys.argv[1])
module, x = network.build().eval(), torch.rand(int(sys.argv[2]), *network.input)
settle_allocator()
counts = []
with torch.inference_mode():
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        module(x)
        counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(json.dumps(counts[-1] * resource.getpagesize()))
"""


def predicted(name: str, batch: int) -> float:
    """MiB of new pages in a pass."""
    account = cn.network(name).account()
    works = {row.path: work(row.node.layer, row.inputs, row.output, batch, 1) for row in account.rows}
    return sum(fresh(account.graph, works, batch).values()) / MIB


def counted(name: str, batch: int) -> float:
    """The same by the system's count, in a process of its own."""
    bytes_of_pages: int = json.loads(subprocess.check_output([sys.executable, "-c", COUNT, name, str(batch)]))
    return bytes_of_pages / MIB


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--processes", type=int, default=5)
    options = parser.parse_args()
    print(describe())
    print(f"{'network':<20}{'predicted':>12}{'least':>10}{'median':>10}{'most':>10}  (MiB, batch {options.batch})")
    for name in options.networks:
        counts = [counted(name, options.batch) for _ in range(options.processes)]
        line = f"{name:<20}{predicted(name, options.batch):>12.0f}"
        print(f"{line}{min(counts):>10.0f}{median(counts):>10.0f}{max(counts):>10.0f}", flush=True)


if __name__ == "__main__":
    main()
