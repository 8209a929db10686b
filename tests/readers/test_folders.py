"""What names on a command line stand for, where some are folders."""

from __future__ import annotations

import os

import pytest

from cnnatomy.errors import UserError
from cnnatomy.readers.folders import networks_of

DESIGN = "tail: []\nbody: []\nhead: []\n"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(**files: str) -> None:
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/").replace("_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return write


def test_a_folder_is_all_designs_in_it_sorted(here):
    here(nets__b_yaml=DESIGN, nets__a_yml=DESIGN, nets__deep__c_YAML=DESIGN, nets__m_onnx="", nets__d_prototxt="")
    here(nets__ci_yml="on: push\n", nets__readme_md="", nets__deep__values_yaml="a: {{ b }}\n")
    found = networks_of(["nets"])
    assert found.networks == ["nets/a.yml", "nets/b.yaml", "nets/d.prototxt", "nets/m.onnx", "nets/deep/c.YAML"]
    assert found.passed == 2
    assert found.several


def test_hidden_folders_and_links_to_folders_are_passed_by(here, tmp_path):
    here(nets__a_yaml=DESIGN)
    for folder in (".venv", "elsewhere"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "b.yaml").write_text(DESIGN)
    (tmp_path / ".venv").rename(tmp_path / "nets" / ".venv")
    os.symlink(tmp_path / "elsewhere", tmp_path / "nets" / "link")
    assert networks_of(["nets"]).networks == ["nets/a.yaml"]


def test_a_file_is_there_once(here):
    here(nets__a_yaml=DESIGN)
    assert networks_of(["nets/a.yaml", "nets", "./nets/a.yaml"]).networks == ["nets/a.yaml"]


def test_a_run_is_one_network_and_a_folder_with_a_design_of_that_name_is_not(here):
    here(run__design_yaml=DESIGN, run__run_json="{}", nets__design_yaml=DESIGN, nets__a_yaml=DESIGN)
    assert networks_of(["run"]) == (["run"], 0, False)
    assert networks_of(["nets"]).networks == ["nets/a.yaml", "nets/design.yaml"]


def test_the_catalogue_goes_before_a_folder_of_that_name(here):
    here(alexnet__a_yaml=DESIGN)
    assert networks_of(["alexnet"]) == (["alexnet"], 0, False)
    assert networks_of(["alexnet/"]).networks == ["alexnet/a.yaml"]


def test_a_folder_without_designs_is_a_mistake(here):
    here(nets__ci_yml="on: push\n", nets__a_txt="")
    with pytest.raises(UserError, match=r"nets: no design in this folder \(1 YAML file without one\)"):
        networks_of(["nets"])
    assert networks_of(["nets"], designs_only=True).networks == []


def test_what_is_named_is_passed_over_only_if_asked(here):
    here(ci_yml="on: push\n", a_yaml=DESIGN)
    assert networks_of(["ci.yml", "a.yaml"]) == (["ci.yml", "a.yaml"], 0, True)
    assert networks_of(["ci.yml", "a.yaml", "missing.yaml"], designs_only=True) == (["a.yaml", "missing.yaml"], 1, True)


def test_more_than_so_many_designs_are_refused(here, monkeypatch):
    here(nets__a_yaml=DESIGN, nets__b_yaml=DESIGN)
    monkeypatch.setattr("cnnatomy.readers.folders.MAX_CRITICISED", 1)
    with pytest.raises(UserError, match="more than 1 YAML files"):
        networks_of(["nets"])


def test_what_cannot_be_read_is_no_design(here, tmp_path):
    here(nets__a_yaml=DESIGN)
    (tmp_path / "nets" / "b.yaml").write_bytes(b"\xff\xfe\x00tail")
    os.mkfifo(tmp_path / "nets" / "c.yaml")
    assert networks_of(["nets"]) == (["nets/a.yaml"], 2, True)
