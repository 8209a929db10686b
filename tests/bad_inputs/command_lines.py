# ruff: noqa: E501 - a table has a line for a case, or for many
"""Command lines: names of networks, options and their values, files to write."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator

from bad_inputs.case import Case, Content, case, folder, link_to

GOOD = {
    "show": "good.yaml", "compare": "good.yaml", "critique": "good.yaml", "fit": "good.yaml --memory 1GiB", "roofline": "good.yaml --device h100-sxm",
    "time": "good.yaml --repetitions 1", "train": "good.yaml --epochs 1", "weights": "good.yaml --from torchvision:resnet18",
    "predict": "run image.png", "evaluate": "run", "list": "", "rules": "", "layers": "", "new": "mine", "demo": "", "calibrate": "",
}  # fmt: skip
NETWORKS = ("show", "compare", "critique", "fit", "roofline", "time", "train", "weights")


def cases() -> Iterator[Case]:
    """All of them."""
    yield from commands()
    yield from names()
    yield from modules()
    yield from new_files()
    yield from inputs()
    yield from values()
    yield from outputs()


def line(
    command: str, code: int | tuple[int, ...] = 2, says: str = "", files: dict[str, Content] | None = None
) -> Case:
    """A case that is called by what is typed."""
    shown = ascii(command)[1:-1]
    shown = shown if len(shown) < 150 else f"{shown[:100]}... of {len(shown):,} characters"
    return case(f"cnnatomy {shown}", command, files, code=code, says=says)


def commands() -> Iterator[Case]:
    """Commands and options that there are not."""
    for verb, arguments in GOOD.items():
        yield line(f"{verb} {arguments} --nonsense", says="nonsense")
        yield line(f"{verb} {arguments} --format xml", says="format")
        if verb not in ("list", "rules", "layers", "demo", "calibrate"):
            yield line(verb, says="[Mm]issing|at least|needs")
    for command in (
        "shwo good.yaml",
        "SHOW good.yaml",
        "--nonsense",
        "-x",
        "''",
        "' '",
        "'\x1b[31m'",
        "show good.yaml good.yaml",
        "list lenet-5",
        "--version=3",
        "show --input",
    ):
        yield line(command)
    yield line("show " + "x" * 100_000)
    yield line("compare " + "nothing " * 5_000)
    yield line("compare " + "good.yaml " * 3_000, (0, 2))
    for command in ("", "--help", "-h", "show -h", "--version"):
        yield line(command, (0, 2) if not command else 0)


def names() -> Iterator[Case]:
    """What may be typed for a network."""
    for name in (
        "", " ", ".", "..", "/", "~", "*", "-", "x" * 300, "x" * 5_000, "a\nb", "\x1b[31mred\x1b[0m", "\x07", "\udcff\udcfe", "\u202eabc", "résumé", "🦊", "%s%n",
        "{0}", "$(touch owned)", "missing.yaml", "missing.onnx", "missing.prototxt", "missing.pth", "good.yml", "good.txt", "good", "resnet50x", "resnet", "resnet-5O",
        "vgg--16x", "se-", "se-good.yaml", "lenet-5.yaml", "nowhere/missing.yaml", "good.yaml/more.yaml", "x" * 300 + ".yaml", "a\nb.yaml", "\x1b[31m.yaml",
        "\udcff.yaml", ".yaml", "..yaml", "/.yaml", "http://example.com/net.yaml", "s3://bucket/net.onnx", "https://example.com/x.onnx", "file:///good.yaml", "None", "nan", "0", "-1", "1e400",
    ):  # fmt: skip
        words = shlex.quote(name)
        if not name.startswith("-"):
            yield line(f"show {words}")
            if name not in (".", ".."):  # folders of designs are criticised
                yield line(f"critique {words}")
        yield line(f"compare good.yaml -- {words}")
    for name in (
        "missing",
        "missing.yaml",
        "\x1b[31m",
        "x" * 300,
        "missing.onnx",
        "missing.prototxt",
        "nowhere/x.yaml",
    ):
        for verb in ("fit", "roofline", "time", "train", "weights"):
            yield line(f"{verb} " + GOOD[verb].replace("good.yaml", shlex.quote(name), 1))
    yield line("critique .", 0)
    yield line("critique here", says="here", files={"here": folder})
    for option in ("write-baseline", "baseline"):
        for text in ("good.yaml", "nowhere/a.json", "", ".", "/", "x" * 300, "/dev/full", "a\nb/c"):
            yield line(f"critique good.yaml --{option}={shlex.quote(text)}")
    for text in (
        "[tool",
        "[tool.cnnatomy.critique]\nselect = 3",
        "[tool.cnnatomy.critic]",
        "[tool.cnnatomy.critique]\n'\\u001b[31m' = 3",
        "\0",
    ):
        for name in ("good.yaml", "alexnet"):
            what = f"critique {name} beside a pyproject.toml of {text!a}"
            yield case(what, f"critique {name}", {"pyproject.toml": text})
    yield line("show here.yaml", says="here", files={"here.yaml": folder})
    yield line("show here", says="here", files={"here": folder})
    yield line("show here.onnx", says="here", files={"here.onnx": folder})
    yield line("show resnet-50 --classes 10", 0)
    yield line("show 'ResNet 50'", (0, 2))


def modules() -> Iterator[Case]:
    """`python:` and what it may lead to."""
    source = {
        "mod.py": "import os, sys\nfrom torch import nn\n"
        "number = 3\ntext = 'x'\nnothing = None\n"
        "def raises():\n    raise ValueError('no \\x1b[31mgood')\n"
        "def raises_long():\n    raise ValueError('x' * 1_000_000)\n"
        "def leaves():\n    sys.exit(7)\n"
        "def interrupts():\n    raise KeyboardInterrupt\n"
        "def recurses():\n    return recurses()\n"
        "def needs(a, b):\n    return nn.ReLU()\n"
        "def prints():\n    print('loading'); return nn.ReLU()\n"
        "def list_of():\n    return [nn.ReLU()]\n"
        "class Bad(nn.Module):\n    def forward(self, x):\n        raise RuntimeError('in \\x1b[31mforward')\n"
        "class Data(nn.Module):\n    def forward(self, x):\n        return x if x.sum() > 0 else -x\n"
        "class NoForward(nn.Module):\n    pass\n"
        "class Nothing(nn.Module):\n    def forward(self, x):\n        return None\n"
        "class Text(nn.Module):\n    def forward(self, x):\n        return 'text'\n"
        "class Deep(nn.Module):\n    def forward(self, x):\n        return self.forward(x)\n"
        "class Numpy(nn.Module):\n    def forward(self, x):\n        return x.detach().numpy()\n"
        "class Item(nn.Module):\n    def forward(self, x):\n        return x[x.argmax().item()]\n"
        "class Huge(nn.Module):\n    def __init__(self):\n        super().__init__(); self.fc = nn.Linear(10**7, 10**7)\n    def forward(self, x):\n        return self.fc(x)\n",
        "broken.py": "def f(:\n", "raising.py": "raise RuntimeError('at \\x1b[31mimport')\n", "leaving.py": "import sys\nsys.exit(9)\n", "needy.py": "import no_such_thing\n",
        "printing.py": "print('loading')\nfrom torch.nn import ReLU\n", "package/inner.txt": "",
    }  # fmt: skip
    for what in (
        "mod:number", "mod:text", "mod:nothing", "mod:missing", "mod:raises", "mod:raises_long", "mod:leaves", "mod:recurses", "mod:needs", "mod:list_of", "mod:Bad", "mod:NoForward",
        "mod:Nothing", "mod:Text", "mod:Deep", "mod:Item", "mod:Data", "mod", "mod:", ":raises", "", ":", "::", "mod:a:b", "mod:raises.x", "mod.raises:x", "broken:f", "raising:f",
        "leaving:f", "needy:f", "package:f", "missing:f", "missing.module:f", "mod.py:Bad", "./mod:Bad", "../mod:Bad", "mod:Bad()", "os:system", "json:dumps", "sys:exit", "builtins:print", "builtins:input",
        "torch:zeros", "torch.nn:Module", "torch.nn:Conv2d", "torch:nn", "a b:c", "\x1b[31m:x", "mod:\x1b[31m", "x" * 5_000 + ":y", "mod:" + "y" * 5_000, ".:x", "..:x", "mod:__name__", "mod:Huge",
    ):  # fmt: skip
        yield case(f"show: python:{ascii(what)[1:-1][:60]}", ("show", f"python:{what}"), dict(source), quotes=True)
    command = ("show", "python:mod:prints", "--format", "json")
    yield case("show: JSON of a module that prints", command, dict(source), code=0, says=r"\A\{")
    command = ("show", "python:printing:ReLU", "--format", "json")
    yield case("show: JSON of a module that prints at import", command, dict(source), code=0, says=r"\A\{")
    yield case(
        "show: a module that is interrupted",
        ("show", "python:mod:interrupts"),
        dict(source),
        code=(130, 2),
        quotes=True,
    )
    for verb in ("critique", "time", "train"):
        yield case(
            f"{verb}: a module that raises",
            (verb, "python:mod:raises", *GOOD[verb].split()[1:]),
            dict(source),
            quotes=True,
        )


def new_files() -> Iterator[Case]:
    """What `new` may be asked to write."""
    for name in (
        "",
        " ",
        ".",
        "..",
        "/",
        "../..",
        "nowhere/a/b",
        "x" * 300,
        "there",
        "there.yaml",
        "a/",
        "\x1b[31mred",
        "a\nb",
        "\x07",
        "\udcff",
        "/proc/x",
        "good.yaml/x",
        "a.yaml/b",
        "\u202eabc",
    ):
        code: int | tuple[int, ...] = (
            (0, 2) if name in (" ", "\udcff", "\x1b[31mred", "a\nb", "\x07", "\u202eabc") else 2
        )
        yield line(f"new {shlex.quote(name)}", code, files={"there.yaml": "kept"})
        yield line(f"new {shlex.quote(name)} --from lenet-5", code, files={"there.yaml": "kept"})
    for source in (
        "nothing",
        "resnet50x",
        "missing.yaml",
        "",
        "\x1b[31m",
        "there.yaml",
        "/dev/zero",
        "python:x:y",
        "missing.onnx",
    ):
        yield line(f"new mine --from {shlex.quote(source)}", files={"there.yaml": "- no design"})
    yield line("new dangling", says="dangling", files={"dangling.yaml": link_to("nowhere/x")})
    yield line("new looping", says="looping", files={"looping.yaml": link_to("looping.yaml")})
    yield line("new device", says="device", files={"device.yaml": link_to("/dev/null")})
    yield line("new mine --schema", says="design.schema.json", files={"design.schema.json": "kept"})
    if os.geteuid():
        yield line("new closed/mine", says="closed", files={"closed": lambda path: path.mkdir(mode=0o500)})


def inputs() -> Iterator[Case]:
    """Values of --input."""
    for value in (
        "",
        "0",
        "3",
        "1x2",
        "1x2x3x4",
        "1x1e3x8",
        "1x8x-8",
        "0x8x8",
        "1x0x8",
        "-1x8x8",
        "axbxc",
        "1xx8",
        "1x8x8x",
        "1.5x8x8",
        "1x8x" + "9" * 400,
        "1x8x" + "9" * 5000,
        "1x1000001x8",
        "١x٨x٨",
        "1x8x8\n",
        "NaNx8x8",
        "image:1x8x8",
        "1x8x8:int65",
        "1x8x8:int64",
        "1x8x8 7",
        "a:7 a:8",
        "a:b:c",
        "scalar",
        "\x1b[31m:8",
        "x".join("1" * 40),
    ):
        for verb in ("show", "compare", "train", "fit"):
            if verb == "show" or len(value) < 20:
                yield line(
                    f"{verb} {GOOD[verb]} --input={shlex.quote(value)}",
                    (0, 2) if value.endswith("\n") else 2,
                    says="" if value.endswith("\n") else "input|shape|size|feature map",
                )
    for value in ("1x100000x100000", "1x1000000x1000000", "1000000x1000000x1000000", "1x1x1", "3x8x8", "1x1x1000000"):
        for verb in NETWORKS[:5]:
            yield line(f"{verb} {GOOD[verb]} --input {value}", (0, 2))
            yield line(f"{verb} {GOOD[verb].replace('good.yaml', 'resnet-18')} --input {value}", (0, 2))
    for value in ("1x100000x100000", "1000000x1000000x1000000", "1x1000000x1000000"):
        for verb in ("time", "train"):
            yield line(f"{verb} {GOOD[verb]} --input {value}", says="channels|memory|GiB|bytes|TiB|PiB|large|pixels")


NUMBERS = ("-1", "0", "1.5", "x", "", "nan", "inf", "1e3", "9" * 30, "9" * 5000, "0x10", "١")


def values() -> Iterator[Case]:
    """Values of the other options."""
    for verb, options in {
        "show": "classes depth", "compare": "classes", "critique": "classes", "fit": "classes checkpoint", "roofline": "classes batch", "time": "classes batch repetitions",
        "train": "epochs batch-size seed patience", "weights": "classes",
    }.items():  # fmt: skip
        for option in options.split():
            for value in NUMBERS:
                if (option, value) == ("epochs", "1e3"):  # what is asked for is done, and takes its time
                    continue
                digits = value.isdigit() or value == "١"
                right = (
                    digits
                    and (
                        option
                        in ("depth", "checkpoint", "seed", "epochs", "patience", "batch-size", "repetitions", "batch")
                        or value == "١"
                    )
                    and value != "0"
                    and verb != "train"
                    and verb != "time"
                )
                also = (option, value) in (("seed", "0"), ("patience", "0"), ("epochs", "1.5"))
                code = (0, 2) if right or also or (digits and value == "١") else 2
                yield line(f"{verb} {GOOD[verb]} --{option} '{value}'", code)
    for value in (
        "",
        "x",
        "-1",
        "-1GiB",
        "0",
        "nan",
        "inf",
        "1e400GiB",
        "9" * 400 + "GiB",
        "1XB",
        "GiB",
        "1 GiB GiB",
        "0x10",
        "1,5GiB",
        "1e-400",
        "\x1b[31m",
        "1e5000B",
        "--",
        "8GiB8",
        "8G iB",
    ):
        for verb in ("fit", "critique"):
            yield line(f"{verb} good.yaml --memory={shlex.quote(value)}", says="memory")
    for option, texts in {
        "latency": ("", "0ms", "-1ms", "x", "5", "1e3ms", "9" * 400 + "s", "nan ms", "infs", "1h", "1..5ms"),
        "objects": ("", "0", "9:3", "-1:3", "a:b", "1:2:3", "99999999", ":", "1:", ":1", "1.5:3"),
        "device": ("", "gpu", "h1000", "cuda:0", "\x1b[31m", "x" * 5000), "task": ("", "regression", "x" * 5000),
        "rule": ("", "unknown", "C99", "c1x", "\x1b[31m", "*"), "ignore": ("", "unknown", "ALL"), "strict=x": ("",), "strict=": ("",),
        "fix": ("there.yaml", "mine.txt", "nowhere/a.yaml", "", ".", "/", "mine", "x" * 300 + ".yaml", "good.yaml", "\x1b[31m.json", "/dev/full", "dangling.yaml"),
    }.items():  # fmt: skip
        for text in texts:
            given = f"--{option}" if "=" in option else f"--{option}={shlex.quote(text)}"
            yield line(
                f"critique good.yaml {given}", files={"there.yaml": "kept", "dangling.yaml": link_to("nowhere/x")}
            )
    for command in (
        "fit good.yaml --memory 1GiB --optimizer adamax", "fit good.yaml --memory 1GiB --dtype int3", "fit good.yaml --memory 1GiB --device tpu",
        "fit good.yaml", "roofline good.yaml --dtype int3 --device h100-sxm", "roofline good.yaml --device nothing", "roofline good.yaml", "roofline good.yaml --device h100-sxm --dtype tf64",
        "time good.yaml --device tpu", "time good.yaml --batch 1000000000000", "time good.yaml --batch 1000000000", "train good.yaml --device tpu", "train good.yaml --recipe nothing", "train good.yaml --init nothing",
        "train good.yaml --learning-rate -1", "train good.yaml --learning-rate nan", "train good.yaml --learning-rate inf", "train good.yaml --learning-rate 0", "train good.yaml --learning-rate x",
        "train good.yaml --data nowhere", "train good.yaml --data ''", "train good.yaml --data good.yaml", "train good.yaml --data /dev/zero", "train good.yaml --data .", "train good.yaml --resume",
        "train good.yaml --resume --out nowhere", "train good.yaml --out good.yaml", "train good.yaml --out good.yaml/x", "train good.yaml --out /proc/x", "train good.yaml --out /dev/null", "train good.yaml --out ''",
        "train good.yaml --out " + "x" * 300, "train good.yaml --out .", "train lenet-5 --data digits --input 3x7x7", "weights good.yaml", "weights good.yaml --from nothing", "weights good.yaml --from torchvision:nothing",
        "weights good.yaml --from timm:", "weights good.yaml --from torchvision:", "weights good.yaml --from missing.pth", "weights good.yaml --from missing.safetensors", "weights good.yaml --from good.yaml", "weights good.yaml --from ''",
        "list --family nothing", "list --sort size", "list --family ''", "rules nothing", "rules C99", "rules ''", "rules '\x1b[31m'", "layers Nothing", "layers relux", "layers ''", "layers '\x1b[31m'", "layers " + "x" * 5000,
        "predict nowhere image.png", "predict good.yaml image.png", "evaluate nowhere", "evaluate good.yaml", "evaluate .", "evaluate /dev/null", "evaluate ''", "demo --seed -1", "demo --out good.yaml", "demo --device tpu", "calibrate extra",
    ):  # fmt: skip
        yield line(command)


def outputs() -> Iterator[Case]:
    """Files that charts are drawn into."""
    for place in (
        "chart",
        "chart.gif",
        "chart.pdf",
        "chart.svg.gz",
        ".svg",
        "nowhere/chart.svg",
        "",
        ".",
        "/",
        "/dev/full",
        "x" * 300 + ".svg",
        "here.svg",
        "\x1b[31m.gif",
        "good.yaml",
    ):
        yield line(
            f"compare good.yaml --plot {shlex.quote(place)}",
            (0, 2) if place == ".svg" else 2,
            files={"here.svg": folder},
        )
    yield line("compare lenet-5 --plot full.svg", (0, 2), files={"full.svg": link_to("/dev/full")})
    yield line("compare lenet-5 --plot dangling.svg", (0, 2), files={"dangling.svg": link_to("nowhere/x.svg")})
