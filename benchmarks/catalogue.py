"""How long it takes to describe and count every network of the catalogue, in Python and as `cnnatomy list`.

python benchmarks/catalogue.py
"""

from __future__ import annotations

import gc
import statistics
import subprocess
import sys
import time

import cnnatomy as cn
from _machine import describe


def main() -> None:
    print(describe())
    seconds = []
    gc.disable()  # as `cnnatomy list` does
    for _ in range(5):
        start = time.perf_counter()
        layers = sum(entry.network().account().totals.layers for entry in cn.ENTRIES)
        seconds.append(time.perf_counter() - start)
        gc.collect()
    print(f"{len(cn.ENTRIES)} networks, {layers:,} layers: {statistics.median(seconds):.2f} s to describe and count")
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "cnnatomy", "list"], check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
    print(f"cnnatomy list as a process: {statistics.median(seconds):.2f} s")


if __name__ == "__main__":
    main()
