"""A design to begin with: YAML with comments, written where there is no file yet."""

from __future__ import annotations

import os
from pathlib import Path

import yaml

from cnnatomy.design.graph import check_name
from cnnatomy.errors import UserError, quoted
from cnnatomy.files import check_new, write_new, writing_to
from cnnatomy.readers import YAML, resolve
from cnnatomy.readers.yaml import listed, schema

EDITORS = f"# yaml-language-server: $schema={schema.FILE}\n"
"""What tells editors (VS Code, Neovim and others, with a YAML language server) which schema a file follows."""

HEAD = """\
# A network as data: tail, body and head. See what it costs:  cnnatomy show FILE
# A part is a layer or block by its name, alone (ReLU) or with fields (Conv: {channels: 32, kernel: 3}); a list is a
# chain of parts; a name of your own before a part (stage1: [...]) becomes its path; `times: 3` after a part repeats it.
"""

COMMENTS = {
    "name": "what tables call it",
    "input": "channels, rows, columns",
    "tail": "from data to weak features",
    "body": "from weak to strong features; this is where networks differ",
    "head": "the prediction",
    "nodes": "path: layer, and what it reads where that is not the node before",
}

SMALL = """\
input: [3, 32, 32]

tail:
  - Conv: {channels: 32, kernel: 3, padding: same, bias: false}
  - BatchNorm
  - ReLU

body:
  Chain:
    stage1:
      - Residual:
          parts:
            - Conv: {channels: 32, kernel: 3, padding: 1, bias: false}
            - BatchNorm
            - ReLU
            - Conv: {channels: 32, kernel: 3, padding: 1, bias: false}
            - BatchNorm
          after: ReLU
        times: 2
    down1: {MaxPool: {kernel: 2}}
    stage2:
      - BasicBlock: {width: 64, option: B}      # a block of the catalogue: two convolutions and a shortcut
        times: 2

head:
  LinearHead: {classes: 10}
"""


def text(name: str, file: str, source: str | None = None) -> str:
    """A commented design called `name`, for a file of that name: a small one, or a copy of the network `source`.

    Raises:
        UserError: if there is no such network.
    """
    if source is None:
        written = yaml.safe_dump({"name": name}, allow_unicode=True) + SMALL
    else:
        written = listed.write(resolve(source).replace(name=name))
    lines = [HEAD.replace("FILE", file)]
    for line in written.splitlines():
        key = line.partition(":")[0]
        if key in COMMENTS:
            lines.append(f"\n# {COMMENTS[key]}\n")
        if line:
            lines.append(line + "\n")
    return "".join(lines)


def create(name: str, source: str | None = None, with_schema: bool = False) -> str:
    """Writes NAME.yaml, and the schema beside it where that is asked for. Returns what to say about it.

    Raises:
        UserError: if there is such a file already, it cannot be written, or there is no network `source`.
    """
    path = Path(name)
    if name.endswith(("/", os.sep)) or not path.name or path.name == "..":
        raise UserError(f"a design needs a name, such as mine or designs/mine.yaml, got {quoted(name)}")
    if path.suffix.lower() not in YAML:
        path = path.with_name(path.name + ".yaml")
    check_name(path.stem, "the name of a design")
    content = text(path.stem, str(path), source)
    check_new(path)
    beside = path.with_name(schema.FILE)
    with writing_to(path):
        if with_schema and not (beside.is_file() and beside.read_text(encoding="utf-8") == schema.text()):
            write_new(beside, schema.text())
        write_new(path, (EDITORS if with_schema else "") + content)
    return f"wrote {path}; what it costs: cnnatomy show {path}"
