# ruff: noqa: E501 - a table has a line for a case, or for many
"""Terminals, pipes, disks and encodings that take no, or not all, output."""

from __future__ import annotations

from collections.abc import Iterator

from bad_inputs.case import GOOD_DESIGN, Case, case
from bad_inputs.designs import bodied
from bad_inputs.images import encoded

PRINT = {
    "list": "list", "list as JSON": "list --format json", "show": "show resnet-50", "show as JSON": "show resnet-50 --format json", "compare": "compare vgg-16 resnet-50", "critique": "critique alexnet",
    "critique as SARIF": "critique alexnet --format sarif", "rules": "rules", "layers": "layers", "layers as JSON": "layers --format json", "fit": "fit resnet-50 --memory 8GiB", "roofline": "roofline resnet-50 --device h100-sxm",
    "help": "--help", "help of a command": "critique --help", "version": "--version", "show as DOT": "show resnet-50 --format dot", "a rule": "rules C1", "a layer": "layers Conv",
}  # fmt: skip
RUN = {
    "predict": "predict run image.png",
    "predict many": "predict run " + "image.png " * 200,
    "evaluate": "evaluate run",
    "train": "train good.yaml --epochs 1 --out made",
    "time": "time good.yaml --repetitions 1",
}
WRITE = {"new": "new mine", "critique --fix": "critique lenet-5-1998 --fix fixed.yaml"}
FULL = r"space|full|write|output"


def cases() -> Iterator[Case]:
    """All of them."""
    files = {"image.png": encoded()}
    for what, command in {**PRINT, **WRITE}.items():
        yield case(f"{what} into /dev/full", command, stdout="full", says=FULL)
        yield case(f"{what} into a closed stdout", command, stdout="closed", code=(0, 2))
        yield case(f"{what} into a reader that leaves after a line", command, stdout="head", code=(0, 141))
        yield case(f"{what} without a terminal, TERM=dumb", command, environment={"TERM": "dumb"}, code=0)
        yield case(f"{what} on a dumb terminal", command, environment={"TERM": "dumb"}, stdout="terminal", code=0)
    for what, command in RUN.items():
        kept = (lambda run: None) if "run" in command.split() else None
        yield case(f"{what} into /dev/full", command, files, stdout="full", says=FULL, run=kept)
        yield case(f"{what} into a closed stdout", command, files, stdout="closed", code=(0, 2), run=kept)
        yield case(
            f"{what} into a reader that leaves after a line", command, files, stdout="head", code=(0, 141), run=kept
        )
        yield case(
            f"{what} on a dumb terminal",
            command,
            files,
            environment={"TERM": "dumb"},
            stdout="terminal",
            code=0,
            run=kept,
        )
        yield case(
            f"{what} with NO_COLOR", command, files, environment={"NO_COLOR": "1", "TERM": "dumb"}, code=0, run=kept
        )
    yield from widths()
    yield from encodings()
    yield from mistakes_in_the_dark()


def widths() -> Iterator[Case]:
    """COLUMNS."""
    for columns in ("1", "0", "-5", "abc", "1000000000", "", "9" * 400, "1.5", "nan"):
        for what, command in (
            ("show", "show lenet-5"),
            ("list", "list"),
            ("critique", "critique lenet-5"),
            ("compare", "compare lenet-5 alexnet"),
            ("rules", "rules"),
            ("layers", "layers"),
            ("help", "--help"),
            ("roofline", "roofline lenet-5 --device h100-sxm"),
            ("fit", "fit lenet-5 --memory 1GiB"),
        ):
            yield case(f"{what} with COLUMNS={columns[:12]!r}", command, environment={"COLUMNS": columns}, code=0)
        yield case(f"train with COLUMNS={columns[:12]!r}", RUN["train"], environment={"COLUMNS": columns}, code=0)


def encodings() -> Iterator[Case]:
    """What the terminal cannot show."""
    files = {
        "größe.yaml": GOOD_DESIGN,
        "named.yaml": GOOD_DESIGN + "name: Größe 网络 🦊\n",
        "parts.yaml": bodied("{größe: ReLU}".join(("{Chain: [", "]}"))),
    }
    for name, environment in {
        "ASCII": {"PYTHONIOENCODING": "ascii"},
        "Latin-1": {"PYTHONIOENCODING": "latin-1"},
        "LANG=C": {
            "LANG": "C",
            "LC_ALL": "C",
            "PYTHONUTF8": "0",
            "PYTHONCOERCECLOCALE": "0",
            "PYTHONIOENCODING": "ascii:surrogateescape",
        },
        "code page 437": {"PYTHONIOENCODING": "cp437"},
    }.items():
        for file in files:
            for verb, options in (
                ("show", ""),
                ("critique", ""),
                ("compare", ""),
                ("show", "--format json"),
                ("show", "--format markdown"),
                ("fit", "--memory 1GiB"),
            ):
                yield case(
                    f"{verb} {options} of {file} in {name}".replace("  ", " "),
                    f"{verb} {file} {options}",
                    dict(files),
                    environment=environment,
                    code=0,
                )
        for command in (
            "list",
            "rules",
            "layers",
            "show resnet-50",
            "critique vgg-16",
            "compare vgg-16 alexnet",
            "roofline lenet-5 --device h100-sxm",
            "--help",
            "critique --help",
        ):
            yield case(f"{command} in {name}", command, environment=environment, code=0)
        for command in (
            "show 网络",
            "show 网络.yaml",
            "new 网络",
            "critique good.yaml --rule Größe",
            "show good.yaml --input ١x٨x٨",
        ):
            yield case(
                f"{command} in {name}", command, environment=environment, code=0 if command.startswith("new") else 2
            )


def mistakes_in_the_dark() -> Iterator[Case]:
    """A mistake is a mistake wherever the output goes."""
    for stdout in ("closed", "full", "head", "file"):
        for command in (
            "show missing.yaml",
            "show nothing",
            "shwo",
            "critique good.yaml --rule nothing",
            "fit good.yaml --memory x",
            "predict nowhere x.png",
        ):
            yield case(f"{command} with stdout {stdout}", command, stdout=stdout)
    for what, content in (("nothing", b""), ("a design", GOOD_DESIGN.encode()), ("bytes", b"\xff" * 1000)):
        yield case(f"show - with {what} on stdin", "show -", stdin=content)
        yield case(f"show good.yaml with {what} on stdin", "show good.yaml", stdin=content, code=0)
        yield case(f"show /dev/stdin with {what} on stdin", "show /dev/stdin", stdin=content)
    for name, value in {
        "HOME": "/nowhere",
        "XDG_CACHE_HOME": "/dev/null",
        "TMPDIR": "/nowhere",
        "OMP_NUM_THREADS": "x",
        "PYTHONHASHSEED": "0",
        "LANG": "xx_XX",
        "TZ": "Nowhere/None",
    }.items():
        for command in ("show good.yaml", "roofline good.yaml --device h100-sxm", "critique good.yaml"):
            yield case(f"{command} with {name}={value}", command, environment={name: value}, code=0)
        yield case(
            f"roofline here with {name}={value}", "roofline good.yaml", environment={name: value}, says="calibrate"
        )
