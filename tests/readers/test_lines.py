"""Where the layers and blocks of a network are written in its YAML design."""

from __future__ import annotations

from pathlib import Path

import cnnatomy as cn
from cnnatomy.readers.yaml.lines import Lines, by_path, of_network

DESIGN = """\
tail: Stem
body:
  Chain:
  - stage1: [ReLU]
  - stage2:
      Chain:
      - conv1: ReLU
      - Residual:
          parts:
          - ReLU
          shortcut:
            BatchNorm
        times: 2
head: {LinearHead: {classes: 3}}
"""


def test_a_part_stands_where_its_name_does_or_on_its_own_line():
    lines = by_path(DESIGN)
    assert lines["tail"] == lines["tail.conv"] == 1
    assert lines["body"] == 2
    assert lines["body.stage1"] == lines["body.stage1.relu"] == 4
    assert lines["body.stage2"] == 5
    assert lines["body.stage2.conv1"] == 7
    assert lines["body.stage2.residual1"] == lines["body.stage2.residual2"] == 8
    assert lines["body.stage2.residual2.relu"] == 10
    assert lines["body.stage2.residual2.bn"] == 12
    assert lines["head.fc"] == 14


def test_what_is_not_written_has_the_line_of_the_block_around_it():
    lines = by_path(DESIGN)
    assert lines["body.stage2.residual1.add"] == lines["body.stage2.residual1"]
    assert Lines(Path("mine.yaml"), lines).of("body.stage1.elsewhere.conv1") == 4
    assert Lines(Path("mine.yaml"), lines).of("elsewhere") == 1


def test_a_design_by_nodes_has_a_line_for_each():
    text = "input: [3, 8, 8]\nnodes:\n- body.conv: {Conv: {channels: 4, kernel: 1}}\n- body.relu: ReLU\n- fc: Flatten\n"
    assert by_path(text) == {"body": 1, "body.conv": 3, "body.relu": 4, "fc": 5}


def test_only_a_design_has_lines(tmp_path):
    file = tmp_path / "Mine.YAML"
    file.write_text(DESIGN)
    lines = of_network(str(file), (3, 64, 64))
    assert lines is not None
    assert (lines.file, lines.of("body")) == (file, 2)
    assert of_network("resnet-50", (3, 224, 224)) is None


def test_every_layer_of_a_written_network_has_a_line_that_names_its_block():
    from cnnatomy.readers.yaml import listed

    text = listed.write(cn.network("resnet-18"))
    lines = text.splitlines()
    assert all("BasicBlock" in lines[n - 1] for path, n in by_path(text).items() if path.startswith("body.stage4."))
