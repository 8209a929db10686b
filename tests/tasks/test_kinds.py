"""Tasks as run.json keeps them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cnnatomy.errors import UserError
from cnnatomy.tasks.kinds import KINDS, from_dict
from cnnatomy.tasks.label import Label
from cnnatomy.tasks.maps import Keypoints, Mask, PixelNumbers
from cnnatomy.tasks.numbers import Labels, Numbers
from cnnatomy.tasks.several import EarlyExits, Localised, SeveralHeads
from cnnatomy.tasks.task import Task

NAMES = ("a", "b", "c")
GROUPS = {"vowels": ("a",), "consonants": ("b", "c")}
ONE = [
    Label(NAMES),
    Label(NAMES, GROUPS, 0.25),
    Labels(NAMES),
    Labels(NAMES, (0.1, 0.5, 0.75)),
    Numbers(NAMES),
    Mask(NAMES),
    PixelNumbers(NAMES),
    Keypoints(NAMES, (48, 32), 0.1),
    EarlyExits(NAMES, GROUPS, 0.5, threshold=0.8, macs=(10, 10**12)),
    Localised(NAMES, map_weight=2.0),
]


@pytest.mark.parametrize(
    "task",
    [
        *ONE,
        SeveralHeads(
            ("first", "second"), {"first": Labels(("x", "y"), (0.2, 0.3)), "second": Keypoints(NAMES, (8, 8))}
        ),
        SeveralHeads(("one",), {"one": SeveralHeads(("two",), {"two": Label(NAMES, GROUPS)})}),
    ],
    ids=repr,
)
def test_a_task_is_the_same_after_json(task: Task) -> None:
    record = json.loads(json.dumps(task.as_dict(), allow_nan=False))
    assert from_dict(record, task.names, "run.json") == task


def test_every_kind_is_looked_at_here() -> None:
    assert {task.kind for task in ONE} | {"heads", "objects"} == set(KINDS)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"kind": "lable"}, "run.json: task: kind: expected one of label, .*Did you mean label"),
        ({}, "run.json: task: kind: expected one of"),
        ([], "run.json: task: expected"),
        ({"kind": "label", "threshold": 1}, "run.json: task: label has no .?threshold"),
        ({"kind": "label", "tasks": {}}, "run.json: task: label has no .?tasks"),
        ({"kind": "label", "group_weight": "much"}, "run.json: task: group_weight: expected"),
        ({"kind": "label", "groups": {"x": ["a"]}}, "every class is in one group"),
        ({"kind": "keypoints", "size": [3]}, "run.json: task: size: expected"),
        ({"kind": "heads", "tasks": {"x": {"kind": "label"}}}, "run.json: task x: names"),
        ({"kind": "heads", "tasks": {"x": 3}}, "run.json: task x: expected"),
        ({"kind": "heads", "tasks": {"x": {"kind": "no", "names": ["a"]}}}, "run.json: task x: task: kind"),
    ],
)
def test_what_is_no_task_is_refused_with_its_place(record: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        from_dict(record, NAMES, "run.json")
