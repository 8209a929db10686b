"""Settings of the critique in pyproject.toml and in designs: what holds for which network, and what a mistake gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnnatomy.critique.settings import Settings
from cnnatomy.errors import UserError
from cnnatomy.report.settings import KEYS, settings_of, typed

DESIGN = "input: [3, 32, 32]\ntail:\n  Conv: {channels: 8, kernel: 3}\nbody: ReLU\nhead:\n  LinearHead: {classes: 10}\n"


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def project(folder: Path, text: str) -> None:
    folder.mkdir(exist_ok=True, parents=True)
    (folder / "pyproject.toml").write_text(f"[tool.cnnatomy.critique]\n{text}\n")


def design(path: Path, settings: str = "") -> str:
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(DESIGN + settings)
    return str(path)


def test_all_keys_are_read(here):
    project(
        here,
        'select = ["C", "n4"]\nignore = ["C3"]\npedantic = true\ntask = "segmentation"\nclasses = 19\n'
        'objects = [24, 400]\ndevice = "t4"\nmemory = "8GiB"\nlatency = "20ms"\nbaseline = "known.json"\n'
        '[[tool.cnnatomy.critique.suppress]]\nrule = "C1"\nwhere = "head.*"\nreason = "it is small"',
    )
    found = settings_of("alexnet")
    assert (found.select, found.ignore, found.pedantic) == (("C", "n4"), ("C3",), True)
    assert (found.task, found.classes, found.objects, found.device) == ("segmentation", 19, (24, 400), "t4")
    assert (found.memory, found.latency) == (8 * 2**30, 0.02)
    assert found.baseline == here / "known.json"
    (one,) = found.suppress
    assert (one.codes, one.where, one.reason) == (("C1",), "head.*", "it is small")
    assert one.source == str(here / "pyproject.toml")
    assert not one.in_design


def test_a_design_says_its_own_and_goes_before_its_project(here):
    project(here, 'device = "t4"\nmemory = "1GiB"\nignore = ["C"]')
    name = design(here / "nets" / "a.yaml", "critique: {memory: 2GiB, objects: 24:400, ignore: [N4]}\n")
    found = settings_of(name)
    assert (found.device, found.memory, found.objects, found.ignore) == ("t4", 2 * 2**30, (24, 400), ("C", "N4"))


def test_the_project_is_the_one_around_the_design_and_not_around_the_command(here):
    project(here, 'device = "t4"')
    project(here / "other", 'device = "a100-40gb"')
    assert settings_of(design(here / "other" / "deep" / "a.yaml")).device == "a100-40gb"
    assert settings_of("other/model.onnx").device == "a100-40gb"
    assert settings_of("alexnet").device == settings_of("python:some.module:net").device == "t4"


def test_a_project_without_a_table_is_passed_by(here):
    project(here, 'device = "t4"')
    (here / "inner").mkdir()
    (here / "inner" / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert settings_of(design(here / "inner" / "a.yaml")).device == "t4"


def test_a_latency_may_stand_where_its_device_does_not(here):
    project(here, 'latency = "20ms"')
    assert Settings(device="t4").over(settings_of("alexnet")).purpose().latency == 0.02


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('devise = "t4"', "has no key 'devise'. Did you mean device"),
        ("select = 'C'", "select: expected list of text, got 'C'"),
        ('select = ["C", "Z9"]', "select: there is no rule 'Z9'"),
        ("classes = true", "classes: expected int, got True"),
        ("classes = 0", "classes: from 1 to"),
        ("objects = [400, 24]", "objects: write the smallest and the largest side"),
        ('objects = "big"', "objects: write the smallest and the largest side"),
        ('memory = "8"', "memory: '8': not a size"),
        ('latency = "20"', "latency: '20' is not a time"),
        ('device = "t5"', "there is no device 't5'"),
        ('baseline = ""', "baseline: expected the name of a file, got an empty one"),
        ('task = "guessing"', "task: expected classification or segmentation or detection"),
        ("[[tool.cnnatomy.critique.suppress]]\nrule = 'C1'", "suppress 1: it needs a reason"),
        ("[[tool.cnnatomy.critique.suppress]]\nrule = 'C1'\nreason = ' '", "suppress 1: it needs a reason"),
        ("[[tool.cnnatomy.critique.suppress]]\nreason = 'so'", "suppress 1: it needs the rule"),
        ("suppress = [{rule='C1', reason='a'}, {rule='C1', reasn='a'}]", "suppress 2 has no key 'reasn'. Did you mean"),
        ("suppress = [{rule='Z1', reason='a'}]", "suppress 1: there is no rule 'Z1'"),
    ],
)
def test_a_mistake_is_one_message_with_file_and_key(here, text, said):
    project(here, text)
    with pytest.raises(UserError) as caught:
        settings_of("alexnet")
    message = str(caught.value)
    assert said in message
    assert message.startswith(str(here / "pyproject.toml"))
    assert "\n" not in message


def test_a_mistake_in_a_design_has_its_line(here):
    name = design(here / "a.yaml", "critique: {ignorr: [C]}\n")
    with pytest.raises(UserError, match=r"a\.yaml, line 7: critique has no key 'ignorr'. Did you mean ignore"):
        settings_of(name)


@pytest.mark.parametrize("text", ["[tool", "a = " + "[" * 100_000, "[tool.cnnatomy]\ncritique = 3"])
def test_a_broken_project_is_told(here, text):
    (here / "pyproject.toml").write_text(text)
    with pytest.raises(UserError, match="pyproject"):
        settings_of("alexnet")


@pytest.mark.parametrize("inside", ["", "[tool.cnnatomy.critique]\n"])
def test_a_table_beside_that_of_the_critique_is_told_with_the_nearest(here, inside):
    (here / "pyproject.toml").write_text(f"{inside}[tool.cnnatomy.critic]\nignore = ['C']\n")
    with pytest.raises(UserError, match=r"tool.cnnatomy has no table 'critic'. Did you mean critique\?"):
        settings_of("alexnet")


def test_objects_may_be_of_one_size(here):
    project(here, 'objects = "24"')
    assert settings_of("alexnet").objects == (24, 24)


def test_a_table_that_is_something_else_is_none(here):
    (here / "pyproject.toml").write_text("tool = 3\n")
    assert settings_of("alexnet") == Settings()


def test_what_is_typed_goes_before_all_else(here):
    project(here, 'select = ["N"]\nignore = ["C1"]\nmemory = "1GiB"\npedantic = true')
    asked = typed(select=("C1",), memory="2GiB", pedantic=None, task=None).over(settings_of("alexnet"))
    assert [rule.code for rule in asked.rules()] == ["C1"]
    assert asked.memory == 2 * 2**30
    assert asked.pedantic  # an option that was not given says nothing


def test_every_key_is_a_setting():
    assert set(KEYS) == set(Settings.__dataclass_fields__) - {"sources"}
