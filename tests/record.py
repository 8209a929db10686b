"""What every command answers in JSON about every network of the catalogue and 42 designs, as one digest each.

`python tests/record.py` says which answers differ from those on record in `goldens/answers.json`; with `--write` it
records them again, and with `--keep FOLDER` it writes the answers themselves, so that two versions can be compared with
`diff -r`. Moving code about must change none of them: `test_record.py`, which `make test-full` runs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from click.testing import CliRunner

from cnnatomy.catalogue import ENTRIES
from cnnatomy.cli import main

TESTS = Path(__file__).parent
ANSWERS = TESTS / "goldens" / "answers.json"
DESIGNS = sorted([*(TESTS / "designs").glob("*.yaml"), *(TESTS / "readers" / "data").glob("*.prototxt")])

# `{}` is the network. What depends on the machine (calibrate, time) or on training is left out.
FOR_EACH = {
    "show": "show {} --format json",
    "show --depth 2": "show {} --depth 2 --format json",
    "compare": "compare lenet-5 {} --format json",
    "critique": "critique {} --format json --device a100-40gb --objects 24:100 --memory 8GiB --latency 20ms",
    "critique --fix": "critique {} --format json --unsafe-fixes --fix fixed.yaml",
    "fit": "fit {} --memory 8GiB --format json",
    "fit --train": "fit {} --memory 8GiB --train --optimizer adam --dtype bf16 --device cuda --format json",
    "roofline": "roofline {} --device a100-40gb --dtype float16 --batch 8 --format json",
    "new": "new copy.yaml --from {}",
}
ONCE = {"list": "list --format json", "rules": "rules --format json", "layers": "layers --format json"}
"""They keep their keys: what a command is called on record -> what is typed."""


def answers(networks: list[str]) -> Iterator[tuple[str, str, str]]:
    """(command, network, answer) for each; the answer is what is printed and what is written, or the error."""
    runner = CliRunner()

    def answer(typed: str) -> str:
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            result = runner.invoke(main, typed.split())
            files = [path.read_text() for path in sorted(Path(folder).iterdir())]
            return "\n".join([f"exit {result.exit_code}", result.output, *files])

    for command, typed in ONCE.items():
        yield command, "", answer(typed)
    for name in networks:
        for command, typed in FOR_EACH.items():
            yield command, Path(name).name, answer(typed.format(name)).replace(f"{TESTS}/", "")


def everything() -> list[str]:
    """The names of all networks, and the paths of all designs."""
    return [*(entry.name for entry in ENTRIES), *map(str, DESIGNS)]


def digest(answer: str) -> str:
    return hashlib.sha256(answer.encode()).hexdigest()[:16]


def differences(networks: list[str], keep: Path | None = None) -> tuple[dict[str, dict[str, str]], list[str]]:
    """The digests by command and network, and what differs from those on record."""
    before = json.loads(ANSWERS.read_text(encoding="utf-8")) if ANSWERS.exists() else {}
    found: dict[str, dict[str, str]] = {}
    differ = []
    os.environ["XDG_CACHE_HOME"] = tempfile.gettempdir() + "/not-calibrated"
    for command, network, answer in answers(networks):
        found.setdefault(command, {})[network] = digest(answer)
        if before.get(command, {}).get(network) != digest(answer):
            differ.append(f"{command} {network}".strip())
        if keep:
            file = keep / command.replace(" ", "_") / (network or "all")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(answer)
    return found, differ


def run() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", help="only these  [default: all]")
    parser.add_argument("--write", action="store_true", help="record the answers again")
    parser.add_argument("--keep", type=lambda name: Path(name).resolve(), help="write the answers into this folder")
    asked = parser.parse_args()
    found, differ = differences(asked.networks or everything(), asked.keep)
    if asked.write and not asked.networks:
        ANSWERS.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(f"{sum(map(len, found.values())):,} answers, {len(differ):,} of them not as on record")
    print("".join(f"  {name}\n" for name in differ[:40]), end="")
    return bool(differ)


if __name__ == "__main__":
    sys.exit(run())
