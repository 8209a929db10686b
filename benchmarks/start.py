"""How long commands take to start, beside `import torch` in the same run.

    python benchmarks/start.py [REPETITIONS]

`predict` is given a file that is not there: it loads the run folder, its network and weights, and says so. The commands
take turns, so that whatever else the machine does meets all of them alike. Figures are medians over the repetitions.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _machine import describe

CNNATOMY = [sys.executable, "-m", "cnnatomy"]


def main(repetitions: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        train = [*CNNATOMY, "train", "lenet-5", "--epochs", "1", "--out", str(run)]
        subprocess.run(train, check=True, capture_output=True)
        commands = {
            "import torch": [sys.executable, "-c", "import torch"],
            "cnnatomy predict": [*CNNATOMY, "predict", str(run), str(Path(folder) / "missing.png")],
            "import Lightning": [sys.executable, "-c", "import cnnatomy.training"],
            "cnnatomy show": [*CNNATOMY, "show", "resnet-50"],
            "cnnatomy --help": [*CNNATOMY, "--help"],
        }
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(repetitions):
            for name, command in commands.items():
                start = time.perf_counter()
                subprocess.run(command, check=False, capture_output=True)
                seconds[name].append(time.perf_counter() - start)
    print(describe())
    torch = statistics.median(seconds["import torch"])
    print(f"{'':<18}{'seconds':>9}{'of torch':>10}")
    for name, measured in seconds.items():
        median = statistics.median(measured)
        print(f"{name:<18}{median:>9.2f}{median / torch:>10.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 9)
