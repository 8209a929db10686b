"""Writes every bad input into a folder of its own, and prints the list: `python tests/bad_inputs FOLDER`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bad_inputs import KINDS, cases
from bad_inputs.running import Zygote


def main(place: Path) -> None:
    """Writes all of them."""
    zygote = Zygote(heavy=True)
    try:
        for kind in KINDS:
            for number, case in enumerate(cases(kind)):
                folder = place / kind / f"{number:04}"
                folder.mkdir(parents=True)
                case.prepare(folder, zygote.trained)
                command = shlex.join(["cnnatomy", *case.command]).encode("ascii", "backslashreplace").decode()
                print(f"{folder}: {case.name}: {command[:200]}")
    finally:
        zygote.end()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("python tests/bad_inputs FOLDER")
    main(Path(sys.argv[1]))
