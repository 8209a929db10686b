"""What a bad input is: a command line, the files that it finds, and how a careful program ends."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

Content = str | bytes | Callable[[Path], object]
"""Text, bytes, or what makes the file (or folder, pipe, link) at this path."""

TRAINS = {"train", "predict", "evaluate", "weights", "time", "calibrate", "demo"}
GOOD_DESIGN = """\
input: [1, 8, 8]
tail: {Conv: {channels: 4, kernel: 3, padding: 1}}
body: [ReLU, {MaxPool: {kernel: 2}}]
head: {LinearHead: {classes: 10}}
"""


@dataclass(frozen=True)
class Case:
    """A command line in a folder of its own, and what is expected.

    Attributes:
        name: a statement that tells it from all others.
        command: the arguments; paths are relative to the folder.
        files: what is in the folder. `good.yaml`, a small design, always is.
        code: 2 for what is refused, 0 for what is odd but right.
        says: a pattern that the message, or the output, must hold.
        run: what is done to a copy of a trained run folder, which is then `run`.
        stdout: "file", "closed", "full" (/dev/full), "head" (a reader that leaves after a line) or "terminal".
        quotes: whether the message may quote Python, as it reports what a module of the user's raised.
        messages: how many; several only where several things were asked for.
    """

    name: str
    command: tuple[str, ...]
    files: Mapping[str, Content] = field(default_factory=dict)
    code: int | tuple[int, ...] = 2
    says: str = ""
    run: Callable[[Path], object] | None = None
    stdin: bytes = b""
    environment: Mapping[str, str] = field(default_factory=dict)
    stdout: str = "file"
    quotes: bool = False
    messages: int = 1

    @property
    def heavy(self) -> bool:
        """Whether the command imports torch or onnx."""
        others = any(word.lower().endswith(".onnx") or word.startswith("python:") for word in self.command)
        return others or bool(TRAINS & set(self.command[:1])) or any(word.endswith(".png") for word in self.command)

    @property
    def codes(self) -> tuple[int, ...]:
        """The exit codes that are right."""
        return self.code if isinstance(self.code, tuple) else (self.code,)

    def prepare(self, folder: Path, trained: Path) -> None:
        """Writes all it needs into an empty folder; `trained` is a run folder that is as it should be."""
        for name, content in {"good.yaml": GOOD_DESIGN, **self.files}.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if callable(content):
                content(path)
            elif isinstance(content, str):
                path.write_bytes(content.encode(errors="surrogateescape"))
            else:
                path.write_bytes(content)
        if self.run is not None:
            shutil.copytree(trained, folder / "run", symlinks=True)
            self.run(folder / "run")


def case(
    name: str, command: str | tuple[str, ...], files: Mapping[str, Content] | None = None, **others: object
) -> Case:
    """A case whose command is written as in a shell."""
    words = tuple(shlex.split(command)) if isinstance(command, str) else command
    return Case(name, words, files or {}, **others)  # type: ignore[arg-type]


def link_to(target: str) -> Callable[[Path], None]:
    """A symbolic link."""
    return lambda path: os.symlink(target, path)


def fifo(path: Path) -> None:
    """A pipe that nobody writes to."""
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def folder(path: Path) -> None:
    """A folder where a file is expected."""
    path.mkdir()


def unreadable(path: Path) -> None:
    """A file that its owner took the permissions from."""
    path.write_text(GOOD_DESIGN)
    path.chmod(0)


NO_FILES: dict[str, Content] = {
    "a link to /dev/zero": link_to("/dev/zero"),
    "a link to /dev/random": link_to("/dev/urandom"),
    "a link to /dev/null": link_to("/dev/null"),
    "a pipe without a writer": fifo,
    "a folder": folder,
    "a dangling link": link_to("nowhere"),
    "a link to itself": lambda path: os.symlink(path.name, path),
    "a link to memory": link_to("/proc/self/mem"),
    "a sparse file of 100 GB": lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), 100 * 10**9),
}
"""What a name may lead to that is no file of a sensible size."""
if os.geteuid():
    NO_FILES["an unreadable file"] = unreadable
