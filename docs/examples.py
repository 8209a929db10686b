"""Writes what commands print below them: each block of a page that begins with `$ cnnatomy` shows the whole output.

python docs/examples.py critique.md
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

WIDTH = 118
EXAMPLE = re.compile(r"```\n\$ (cnnatomy [^\n]*)\n.*?\n```", re.S)


def printed(command: str) -> str:
    """What a command prints in an empty folder."""
    environment = {**os.environ, "COLUMNS": str(WIDTH), "NO_COLOR": "1"}
    program = [sys.executable, "-m", "cnnatomy", *command.split()[1:]]
    with tempfile.TemporaryDirectory() as folder:
        ran = subprocess.run(program, capture_output=True, text=True, check=True, cwd=folder, env=environment)
    return ran.stdout.rstrip()


def renewed(page: str) -> str:
    """The page with the output of today."""
    return EXAMPLE.sub(lambda match: f"```\n$ {match[1]}\n\n{printed(match[1])}\n```", page)


def main() -> None:
    """Renews the pages named, in this folder."""
    for name in sys.argv[1:]:
        path = Path(__file__).parent / name
        path.write_text(renewed(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
