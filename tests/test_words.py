"""The words of the field, one for each thing, in source, documentation and messages."""

from __future__ import annotations

import ast
import re
from collections import defaultdict

import pytest

from imports import FILES, REPOSITORY, relative

# what is not written -> what is written in its place
INSTEAD = {
    r"pictures?": "image",
    r"behind": "after (order of layers), or what stands before it",
    r"in front of": "before",
    r"anew": "again",
    r"heirs?": "successor",
    r"let(s|ting)? go of": "release, discard or remove",
    r"mend(s|ed|ing)?": "fix or replace",
    r"see the (file|class|module)\.": "what it does",
    r"left alone are": "what is left out, in plain order: Networks that ... are left out",
}
MAY_SAY_OFFSET = {
    "readers/onnx/windows.py": "of a deformable convolution",
    "report/plot.py": "matplotlib's",
    "design/parts.py": "of a deformable convolution",
    "design/heads.py": "of a box",
    "layers/channel_and_space.py": "of a deformable convolution",
    "layers/space.py": "of a shift",
    "critique/normalisation.py": "of a deformable convolution, and a key of JSON",
    "readers/caffe/moves.py": "of Caffe's Crop",
    "readers/onnx/external.py": "a key of ONNX's, of where in a file a tensor begins",
    "readers/torch/handlers.py": "torch's storage_offset",
    "analysis/coverage.py": "of rows",
    "data/sources/shards.py": "of tarfile, into a file",
}
"""The files that may say offset, and what it is there; elsewhere a number that a layer learns to add is its bias."""

PAGES = sorted(
    [
        *(REPOSITORY / "docs").glob("*.md"),
        *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    ]
)


@pytest.mark.parametrize("word", INSTEAD)
def test_this_word_is_not_written(word: str) -> None:
    pattern = re.compile(rf"\b{word}" + ("" if word.endswith(r"\.") else r"\b"), re.IGNORECASE)
    found = [
        f"{file.relative_to(REPOSITORY)}:{number}: {line.strip()[:90]}"
        for file in [*FILES, *PAGES]
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line.replace("_", " "))
    ]
    assert not found, f"write {INSTEAD[word]}:\n" + "\n".join(found)


def test_what_a_layer_learns_to_add_is_its_bias() -> None:
    found = {
        relative(file)
        for file in FILES
        if re.search(r"offset", file.read_text(encoding="utf-8"), re.IGNORECASE)
        and relative(file) not in MAY_SAY_OFFSET
    }
    assert not found


def test_a_limit_says_of_what() -> None:
    vague = re.compile(r"_?(MOST|LARGER|LARGEST|TOGETHER|AVERAGE|DEEPEST|FEWEST)")
    found = [
        f"{relative(file)}: {name}"
        for file in FILES
        for name in top_level_names(file.read_text(encoding="utf-8"))
        if vague.fullmatch(name)
    ]
    assert not found


def test_one_name_for_one_thing() -> None:
    """No two classes or kinds of value of the package have one name."""
    places: dict[str, list[str]] = defaultdict(list)
    for file in FILES:
        for name in top_level_names(file.read_text(encoding="utf-8")):
            if name[0].isupper() and not name.isupper() and len(name) > 1:
                places[name].append(relative(file))
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


def top_level_names(text: str) -> set[str]:
    """Classes, and what is assigned to a name."""
    names = set()
    for node in ast.parse(text).body:
        if isinstance(node, ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return names
