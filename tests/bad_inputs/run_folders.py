# ruff: noqa: E501 - a table has a line for a case, or for many
"""Run folders and files of weights that are damaged, hostile, or only strange."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bad_inputs.case import GOOD_DESIGN, NO_FILES, Case, Content, case
from bad_inputs.images import encoded

IMAGE: dict[str, Content] = {"image.png": encoded()}
Damage = Callable[[Path], object]
ASKS = {
    "predict": "predict run image.png",
    "evaluate": "evaluate run",
    "resume": "train good.yaml --out run --resume --epochs 2",
}


def damaged(
    what: str,
    damage: Damage,
    asks: tuple[str, ...] = ("predict", "evaluate"),
    code: int | tuple[int, ...] = 2,
    says: str = "run",
) -> Iterator[Case]:
    """A case for each of these commands."""
    for ask in asks:
        yield case(f"{ask}: a run {what}", ASKS[ask], IMAGE, code=code, run=damage, says=says if code == 2 else "")


def edited(*keys: str | int, to: Any) -> Damage:
    """Changes one value of run.json."""

    def edit(run: Path) -> None:
        record = json.loads((run / "run.json").read_text())
        place = record
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = to
        (run / "run.json").write_text(json.dumps(record))

    return edit


def put(name: str, content: str | bytes) -> Damage:
    """Writes a file of the run."""
    return lambda run: (run / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def replaced(name: str, make: Any) -> Damage:
    """Puts something that is no file in the place of one."""

    def replace(run: Path) -> None:
        (run / name).unlink()
        make(run / name)

    return replace


def removed(name: str) -> Damage:
    """Removes a file of the run."""
    return lambda run: (run / name).unlink()


def cut(name: str, share: float) -> Damage:
    """Keeps the beginning of a file."""
    return lambda run: os.truncate(run / name, int(share * (run / name).stat().st_size))


def flipped(name: str, share: float) -> Damage:
    """Flips a bit of a file."""

    def flip(run: Path) -> None:
        content = bytearray((run / name).read_bytes())
        content[int(share * (len(content) - 1))] ^= 16
        (run / name).write_bytes(content)

    return flip


def tensors(of: dict[str, tuple[list[int], bytes]], header: bytes | None = None, length: int | None = None) -> bytes:
    """A safetensors file of float32 tensors, or one that says so."""
    start, entries, data = 0, {}, b""
    for name, (sizes, content) in of.items():
        entries[name] = {"dtype": "F32", "shape": sizes, "data_offsets": [start, start + len(content)]}
        start, data = start + len(content), data + content
    text = json.dumps(entries).encode() if header is None else header
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def all_nan(run: Path) -> None:
    """Every weight is no number."""
    content = (run / "model.safetensors").read_bytes()
    start = 8 + struct.unpack("<Q", content[:8])[0]
    numbers = (len(content) - start) // 4
    (run / "model.safetensors").write_bytes(content[:start] + struct.pack("<f", float("nan")) * numbers)


def cases() -> Iterator[Case]:
    """All of them."""
    yield from missing()
    yield from records()
    yield from weights_of_runs()
    yield from checkpoints()
    yield from weights()
    yield from places()


def missing() -> Iterator[Case]:
    """Files that are not there, or are something else."""
    for name in ("run.json", "design.yaml", "model.safetensors"):
        yield from damaged(f"without {name}", removed(name))
        yield from damaged(f"whose {name} is empty", put(name, b""))
        yield from damaged(f"whose {name} is random", put(name, bytes(range(256)) * 10))
        yield from damaged(f"whose {name} is cut", cut(name, 0.5))
        for what, make in NO_FILES.items():
            yield from damaged(f"whose {name} is {what}", replaced(name, make))
    yield from damaged("without anything", lambda run: (shutil.rmtree(run), run.mkdir()))
    yield from damaged("that is a file", lambda run: (shutil.rmtree(run), run.write_text("x")))
    yield from damaged("that is a pipe", lambda run: (shutil.rmtree(run), os.mkfifo(run)))
    yield from damaged("that links to itself", lambda run: (shutil.rmtree(run), os.symlink("run", run)))
    yield from damaged("of another network", put("design.yaml", GOOD_DESIGN.replace("channels: 4", "channels: 5")))
    yield from damaged(
        "whose network has more classes", put("design.yaml", GOOD_DESIGN.replace("classes: 10", "classes: 11"))
    )
    yield from damaged("whose design is wrong", put("design.yaml", GOOD_DESIGN.replace("ReLU", "Relux")))
    yield from damaged(
        "whose design is too large to build",
        put("design.yaml", GOOD_DESIGN.replace("channels: 4", "channels: 4000000000")),
    )
    yield from damaged(
        "whose design reads other sizes",
        put("design.yaml", GOOD_DESIGN.replace("[1, 8, 8]", "[3, 32, 32]")),
        code=(0, 2),
    )


def records() -> Iterator[Case]:
    """run.json by hand."""
    for what, text in {
        "a list": "[]", "null": "null", "a number": "3", "a word": '"run"', "an empty mapping": "{}", "no JSON": "{", "nested 100,000 deep": "[" * 100_000, "nested 100,000 deep and closed": "[" * 100_000 + "]" * 100_000,
        "in UTF-16": '{"format": 1}'.encode("utf-16").decode("latin-1"), "a number of 100,000 digits": '{"format": ' + "9" * 100_000 + "}", "of 9 MB of lists": "[" + "[]," * 3_000_000 + "[]]", "not a number": '{"format": NaN}',
        "of 11 MB": '{"format": 1' + " " * 11_000_000 + "}", "of a key a million times": "{" + '"a": 1, ' * 1_000_000 + '"a": 1}',
    }.items():  # fmt: skip
        yield from damaged(f"whose run.json is {what}", put("run.json", text), says=r"run\.json")
    for keys, values in {
        ("format",): (2, 0, -1, "1", None, [], 1e400, 10**30, True), ("network",): (3, None, [], "\x1b[31m", "x" * 100_000), ("input",): ([], [1, 8], [1, 8, 8, 8], "1x8x8", None, [0, 8, 8], [1, -8, 8], [1, 8.5, 8], [1, 10**9, 10**9], ["1", "8", "8"], [True, 8, 8], [3, 8, 8]),
        ("classes",): ([], ["a"], [str(i) for i in range(11)], "0123456789", None, list(range(10)), [["a"]] * 10, ["same"] * 10, ["\x1b[31m"] * 10, 10, ["x" * 100_000] * 10),
        ("normalisation",): (None, [], {}, {"mean": [0]}), ("normalisation", "mean"): ([], [0, 0, 0], None, "0", ["0"], [None], [float("nan")], [1e300], [10**400], [[0]]), ("normalisation", "std"): ([0], [-1], [float("inf")], [float("nan")], [1e-320], [], ["x"]),
        ("data",): (None, [], {}, "digits"), ("data", "source"): (None, 3, "nowhere", "/dev/zero", "", "\x1b[31m"), ("data", "split_seed"): (None, "0", -1, 1.5, 10**30, []), ("data", "fingerprint"): (None, 3, "other"),
        ("recipe",): (None, [], "default", {"a": 1}), ("parent",): (3, []),
    }.items():  # fmt: skip
        for value in values:
            right = (
                keys[0] in ("recipe", "parent", "network")
                or keys[-1] in ("source", "split_seed", "fingerprint", "data")
                or value in ([1, 8.5, 8], ["same"] * 10, ["\x1b[31m"] * 10, [1e300], [1e-320], 0, -1)
                or (keys == ("classes",) and value == ["x" * 100_000] * 10)
            )
            shown = ascii(value)[:40]
            yield from damaged(
                f"whose {'.'.join(map(str, keys))} is {shown}",
                edited(*keys, to=value),
                ("predict",),
                (0, 2) if right else 2,
                r"run",
            )
            if keys[0] in ("data", "recipe"):
                yield from damaged(
                    f"whose {'.'.join(map(str, keys))} is {shown}",
                    edited(*keys, to=value),
                    ("evaluate", "resume"),
                    (0, 2),
                )
    for key in (
        "learning_rate",
        "momentum",
        "batch_size",
        "epochs",
        "seed",
        "initialisation",
        "weight_decay",
        "cut",
        "patience",
    ):
        for value in (None, -1, "x", float("nan"), 10**30, []):
            yield from damaged(
                f"whose recipe has {key} {value!r}",
                edited("recipe", key, to=value),
                ("resume",),
                (2,) if value in (None, "x", []) else (0, 2),
            )


def weights_of_runs() -> Iterator[Case]:
    """model.safetensors."""
    name = "model.safetensors"
    for share in (0.1, 0.9):
        yield from damaged(f"whose weights are cut to {share}", cut(name, share), ("predict",), says="model")
    for share in (0.0, 0.01, 0.1, 0.2):
        yield from damaged(f"with a bit of its weights flipped at {share}", flipped(name, share), ("predict",), (0, 2))
    yield from damaged("whose weights are no numbers", all_nan, code=2, says="model|weights|NaN|nan|finite|number")
    for what, content in {
        "promise a header of 2^63 bytes": tensors({}, length=2**63), "promise a header of 100 MB": tensors({}, length=10**8), "have a header that is no JSON": tensors({}, header=b"{{{"), "have a header nested 100,000 deep": tensors({}, header=b"[" * 100_000),
        "are those of another network": tensors({"a": ([1], b"\0" * 4)}), "have a tensor of 2^60 numbers": tensors({}, header=b'{"a":{"dtype":"F32","shape":[1152921504606846976],"data_offsets":[0,4]}}'), "are none": tensors({}),
        "overlap": tensors({}, header=b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'), "have a name of escape sequences": tensors({"\x1b[31m": ([1], b"\0" * 4)}),
        "are a pickle": pickle.dumps({"a": 1}), "are a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\n", "have a name of 1 MB": tensors({"n" * 1_000_000: ([1], b"\0" * 4)}),
    }.items():  # fmt: skip
        yield from damaged(f"whose weights {what}", put(name, content), ("predict",), says="model")


def checkpoints() -> Iterator[Case]:
    """last.ckpt, from which a run goes on."""
    incomplete = lambda run: (run / "summary.json").unlink(missing_ok=True)  # noqa: E731 - a complete run is not gone on with

    def after(damage: Damage) -> Damage:
        return lambda run: (incomplete(run), damage(run))

    for what, damage in {
        "whose last.ckpt is empty": put("last.ckpt", b""), "whose last.ckpt is random": put("last.ckpt", bytes(range(256)) * 20), "whose last.ckpt is cut": cut("last.ckpt", 0.5), "whose last.ckpt is text": put("last.ckpt", "text"),
        "whose last.ckpt is a pickle that acts": put("last.ckpt", b"cos\nsystem\n(S'touch owned'\ntR."), "whose last.ckpt is a pickle": put("last.ckpt", pickle.dumps([1, 2])),
    }.items():  # fmt: skip
        yield from damaged(what, after(damage), ("resume",), says="last|run")
    for share in (0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95):
        yield from damaged(
            f"with a bit of last.ckpt flipped at {share}", after(flipped("last.ckpt", share)), ("resume",), (0, 2)
        )
    for what, make in NO_FILES.items():
        yield from damaged(
            f"whose last.ckpt is {what}", after(replaced("last.ckpt", make)), ("resume",), says="last|run"
        )
    yield from damaged("without last.ckpt", after(removed("last.ckpt")), ("resume",), (0, 2))
    for name in ("metrics.csv", "summary.json"):
        yield from damaged(f"whose {name} is random", put(name, bytes(range(256))), ("resume",), (0, 2))
        for what, make in NO_FILES.items():
            yield from damaged(f"whose {name} is {what}", replaced(name, make), ("resume",), (0, 2))
    yield from damaged("that is complete", lambda run: None, ("resume",), (0, 2))


def weights() -> Iterator[Case]:
    """Files that `weights` reads."""
    for ending in ("pth", "safetensors", "pt"):
        command = f"weights good.yaml --from other.{ending} --out out.safetensors"
        for what, make in NO_FILES.items():
            yield case(f"weights: a .{ending} file that is {what}", command, {f"other.{ending}": make}, says="other")
        for what, content in {
            "of no bytes": b"",
            "of text": "text",
            "of random bytes": bytes(range(256)) * 8,
            "that is a zip": b"PK\x03\x04" + b"\0" * 99,
            "of no tensors": tensors({}),
            "of another network": tensors({"a": ([1], b"\0" * 4)}),
        }.items():
            yield case(f"weights: a .{ending} file {what}", command, {f"other.{ending}": content}, says="other")
    saved: dict[str, Callable[[Any, Any], Any]] = {
        "of a whole module": lambda torch, nn: nn.Linear(3, 3), "of a list": lambda torch, nn: [1, 2, 3], "of a number": lambda torch, nn: 3, "of a string": lambda torch, nn: "x", "of None": lambda torch, nn: None,
        "of one tensor": lambda torch, nn: torch.zeros(3), "of numbers by name": lambda torch, nn: {"a": 1}, "of tensors by number": lambda torch, nn: {1: torch.zeros(3)}, "of an empty state": lambda torch, nn: {},
        "of complex numbers": lambda torch, nn: {"a.weight": torch.zeros(4, 1, 3, 3, dtype=torch.complex64)}, "of sparse tensors": lambda torch, nn: {"a.weight": torch.eye(3).to_sparse()}, "of an expanded tensor of 2^50 numbers": lambda torch, nn: {"a.weight": torch.zeros(1).expand(2**50)},
        "of NaN": lambda torch, nn: {"c.weight": torch.full((4, 1, 3, 3), float("nan")), "c.bias": torch.zeros(4), "f.weight": torch.zeros(10, 4), "f.bias": torch.zeros(10)}, "of names of escape sequences": lambda torch, nn: {"\x1b[31m": torch.zeros(3)},
    }  # fmt: skip
    for what, make in saved.items():
        yield case(
            f"weights: a .pth file {what}",
            "weights good.yaml --from other.pth --out out.safetensors",
            {"other.pth": _saved(make)},
            says="other",
        )
    yield case(
        "weights: a .pth file that acts",
        "weights good.yaml --from other.pth",
        {"other.pth": b"cos\nsystem\n(S'touch owned'\ntR."},
        says="other",
    )


def _saved(make: Callable[[Any, Any], Any]) -> Content:
    def write(path: Path) -> None:
        import torch
        from torch import nn

        torch.save(make(torch, nn), path)

    return write


def places() -> Iterator[Case]:
    """Where results are written to."""
    good = "weights good.yaml --from run/model.safetensors"
    for place in (
        "there.safetensors",
        "weights.bin",
        ".",
        "",
        "x" * 300 + ".safetensors",
        "/proc/x.safetensors",
        "/dev/full",
        "good.yaml",
        "there.safetensors/x.safetensors",
    ):
        yield case(
            f"weights: --out {place[:40]!r}",
            (*good.split(), "--out", place),
            {"there.safetensors": "kept"},
            run=lambda run: None,
        )
    for place in ("run", "good.yaml", "good.yaml/x", "", ".", "/proc/x", "/dev/null", "x" * 300):
        yield case(f"weights: --run {place[:40]!r}", (*good.split(), "--run", place), run=lambda run: None)
    for place in ("run", "full"):
        yield case(
            f"train: --out {place} that exists",
            f"train good.yaml --out {place} --epochs 1",
            {"full/x": "x"},
            run=lambda run: None,
            says=place,
        )
    yield case(
        "train: --resume of another network", "train lenet-5 --out run --resume", run=lambda run: None, says="run|lenet"
    )
    yield case(
        "train: --resume with other data", "train good.yaml --out run --resume --data nowhere", run=lambda run: None
    )
    yield case("demo: --out on a run", "demo --out run", run=lambda run: None, says="run")
