"""`cnnatomy critique` as a linter: several networks, settings, suppressions, a baseline, statistics, annotations."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

import cnnatomy as cn
from cnnatomy.cli import main
from cnnatomy.critique import Finding, Purpose, Remedy, Rule, fix
from cnnatomy.critique.settings import chosen
from cnnatomy.edits.change import Cost
from cnnatomy.readers.yaml import listed
from cnnatomy.report import fixes, rules, sarif
from cnnatomy.report.critique import difference, write_design

jsonschema = pytest.importorskip("jsonschema")
ROOT = Path(__file__).resolve().parents[2]
SCHEMA = Path(__file__).parent / "data" / "sarif-schema-2.1.0.json"
N4 = "response-normalisation"


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A folder with designs of AlexNet, which has N4, and LeNet-5, which has not; both have C1."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    (tmp_path / "nets" / "small").mkdir(parents=True)
    for path, name in (("nets/alex.yaml", "alexnet"), ("nets/small/le.yaml", "lenet-5")):
        Path(path).write_text(listed.write(cn.network(name)))
    Path("nets/ci.yml").write_text("on: push\n")
    return tmp_path


def run(line: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, shlex.split(line))
    assert result.exit_code == code, result.output
    return result


def findings(line: str) -> list[str]:
    """The codes that `critique` of one network prints as JSON."""
    return [one["code"] for one in json.loads(run(f"critique {line} --format json").stdout)["findings"]]


def settings(text: str) -> None:
    Path("pyproject.toml").write_text(f"[tool.cnnatomy.critique]\n{text}\n")


SUPPRESSED = '[[tool.cnnatomy.critique.suppress]]\nrule = "N4"\nwhere = "{}"\nreason = "the paper has it"'


def test_a_folder_is_criticised_network_by_network(here):
    result = run("critique nets --rule C1 --rule N4")
    assert result.stdout.index("alexnet, input 3x227x227") < result.stdout.index("lenet-5, input 1x32x32")
    assert result.stdout.endswith("\n\n2 networks: 3 warnings\n")
    assert result.stderr == "1 YAML file passed over: no design\n"


def test_records_of_several_are_a_list_of_the_records_of_one(here):
    several = json.loads(run("critique nets alexnet --format json").stdout)
    alone = [json.loads(run(f"critique {name} --format json").stdout) for name in ("nets/alex.yaml", "alexnet")]
    assert [several[0], several[2]] == alone
    assert len(json.loads(run("critique nets/small --format json").stdout)) == 1


def test_what_cannot_be_read_is_told_and_the_others_are_criticised(here):
    Path("nets/broken.yaml").write_text("tail: Conf\nbody: []\nhead: []\n")
    result = run("critique nets missing.yaml --rule N4 --strict", code=2)
    assert "warning N4" in result.stdout
    assert "2 networks: 1 warning" in result.stdout
    assert (
        "cnnatomy: nets/broken.yaml, line 1: there is no layer or block called 'Conf'. Did you mean Conv"
        in result.stderr
    )
    assert "cnnatomy: missing.yaml: cannot read the design" in result.stderr


def test_strict_looks_at_all(here):
    run("critique nets/small/le.yaml --rule N4 --strict")
    run("critique nets --rule N4 --strict", code=1)
    run("critique nets --rule N4 --strict error")


def test_a_family_can_be_asked_or_ignored(here):
    assert {code[0] for code in findings("alexnet --rule C")} == {"C"}
    assert "C" not in {code[0] for code in findings("alexnet --ignore C")}
    assert {rule["code"][0] for rule in json.loads(run("rules W --format json").stdout)} == {"W"}


def test_one_log_of_sarif_has_the_results_of_all(here):
    settings(SUPPRESSED.format("tail.*"))
    log = json.loads(run("critique nets --rule C1 --rule N4 --format sarif").stdout)
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(log)
    (made,) = log["runs"]
    assert [rule["id"] for rule in made["tool"]["driver"]["rules"]] == ["N4", "C1"]
    files = [one["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for one in made["results"]]
    assert sorted(files) == ["nets/alex.yaml"] * 3 + ["nets/small/le.yaml"]
    kept = [one["suppressions"] for one in made["results"]]  # of all results, where one has it
    assert [one for one in kept if one] == [[{"kind": "external", "justification": "the paper has it"}]]


def test_the_name_of_a_file_is_written_as_an_address(here):
    Path("nets/alex.yaml").rename("nets/my 100%.yaml")
    log = json.loads(run("critique 'nets/my 100%.yaml' --rule N4 --format sarif").stdout)
    place = log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "nets/my%20100%25.yaml"


def test_suppressed_findings_are_counted_and_the_rest_is_said(here):
    settings(SUPPRESSED.format("tail.norm1"))
    part = run("critique alexnet --rule N4").stdout
    assert "  where   body.norm2\n" in part
    assert "(accepted at 1 of 2 places)" in part
    assert part.rstrip().endswith("; 1 suppressed")
    settings(SUPPRESSED.format("*"))
    assert run("critique alexnet --rule N4 --strict").stdout.endswith("nothing to object to; 1 suppressed\n")
    (one,) = json.loads(run("critique alexnet --rule N4 --format json").stdout)["suppressed"]
    assert (one["code"], one["where"], one["reason"]) == ("N4", ["tail.norm1", "body.norm2"], "the paper has it")


def test_after_a_fix_suppressed_findings_are_counted_too(here):
    settings(SUPPRESSED.format("*"))
    assert run("critique alexnet --rule N4 --fix new.yaml").stdout.endswith("nothing to object to; 1 suppressed\n")
    printed = json.loads(run("critique alexnet --rule N4 --fix new.yaml --format json").stdout)
    assert [one["code"] for one in printed["suppressed"]] == ["N4"]
    log = json.loads(run("critique alexnet --rule N4 --fix new.yaml --format sarif").stdout)
    assert [len(one["suppressions"]) for one in log["runs"][0]["results"]] == [1]


def test_what_suppresses_nothing_is_told_once(here):
    settings(SUPPRESSED.format("head"))
    told = f"note: {here / 'pyproject.toml'}: the suppression of N4 at head suppresses nothing here\n"
    assert run("critique alexnet lenet-5 --format json").stderr == told
    assert run("critique alexnet --rule C").stderr == ""  # it was not asked
    settings(SUPPRESSED.format("tail"))
    assert run("critique lenet-5 alexnet").stderr == ""  # it does, in one of them


def test_a_suppression_of_what_is_said_with_pedantic_only_is_not_idle(here, monkeypatch):
    quiet = Finding(chosen(["N4"], [])[0], "note", ("tail",), "it seldom matters", {}, quiet=True)
    monkeypatch.setattr(Rule, "__call__", lambda self, study: iter([quiet] if self == quiet.rule else []))
    settings(SUPPRESSED.format("tail"))
    result = run("critique alexnet --ignore C")
    assert (result.stdout.splitlines()[-1], result.stderr) == ("nothing to object to", "")


def test_a_design_has_settings_of_its_own(here):
    file = Path("nets/alex.yaml")
    file.write_text(
        file.read_text() + f"critique:\n  select: [N4, C1]\n  suppress:\n  - {{rule: {N4}, reason: meant}}\n"
    )
    assert findings("nets/alex.yaml") == ["C1"]
    assert findings("nets/alex.yaml --rule N") != ["C1"]
    log = json.loads(run("critique nets/alex.yaml --format sarif").stdout)
    kinds = [one["kind"] for result in log["runs"][0]["results"] for one in result["suppressions"]]
    assert kinds == ["inSource"]


def test_settings_say_what_the_networks_are_for(here):
    settings('objects = [24, 400]\nclasses = 19\nmemory = "1KiB"')
    record = json.loads(run("critique lenet-5 --format json").stdout)
    assert record["purpose"]["objects"] == [24, 400]
    assert record["totals"]["parameters"] == cn.network("lenet-5", classes=19).account().totals.parameters
    assert "B3" in [one["code"] for one in record["findings"]]
    assert "B3" not in findings("lenet-5 --memory 1GiB")


def test_a_mistake_in_the_settings_is_told_once(here):
    settings("ignorr = []")
    result = run("critique nets", code=2)
    assert result.stderr.count("Did you mean ignore") == 1
    assert result.stdout == ""


def test_a_baseline_leaves_what_is_new(here):
    written = run("critique nets --rule C1 --write-baseline known.json")
    assert written.stdout == "wrote known.json: 2 findings of 2 networks\n"
    result = run("critique nets --rule C1 --rule N4 --baseline known.json")
    assert "C1" not in result.stdout
    assert result.stdout.endswith("2 networks: 1 warning; 2 in the baseline\n")
    run("critique nets --rule C1 --baseline known.json --strict")
    settings('baseline = "../known.json"')
    Path("pyproject.toml").rename("nets/pyproject.toml")
    assert findings("nets/alex.yaml --rule C1 --rule N4") == ["N4"]
    assert json.loads(run("critique nets/alex.yaml --format json").stdout)["known"] == 1


def test_a_baseline_knows_a_design_again_that_got_a_layer(here):
    """Its convolution with a stride of 2 and a kernel of 1 was the first of the body, and is the second now."""
    text = (
        "input: [3, 32, 32]\ntail:\n  Conv: {channels: 8, kernel: 3}\nbody:\n"
        "- Conv: {channels: 8, kernel: 1, stride: 2}\n- ReLU\nhead:\n  LinearHead: {classes: 10}\n"
    )
    Path("one.yaml").write_text(text)
    assert "body.conv" in run("critique one.yaml --rule W1").stdout
    run("critique one.yaml --rule W1 --write-baseline known.json")
    Path("one.yaml").write_text(text.replace("body:\n", "body:\n- Conv: {channels: 8, kernel: 3}\n- ReLU\n"))
    assert "body.conv2" in run("critique one.yaml --rule W1").stdout
    assert findings("one.yaml --rule W1 --baseline known.json") == []


def test_what_is_gone_from_a_design_is_told(here):
    run("critique nets/alex.yaml --rule N4 --write-baseline known.json")
    Path("nets/alex.yaml").write_text(listed.write(cn.network("vgg-11")))
    told = run("critique nets/alex.yaml --rule N4 --baseline known.json").stderr
    assert told == "note: 1 finding of the baseline not found any more: --write-baseline renews it\n"


def test_a_baseline_is_written_whole_or_not_at_all(here):
    Path("nets/broken.yaml").write_text("tail: Conf\nbody: []\nhead: []\n")
    assert "is not written" in run("critique nets --write-baseline known.json", code=2).stdout
    assert not Path("known.json").exists()
    kept = Path("nets/alex.yaml").read_text()
    assert "leave out" in run("critique nets/small --write-baseline known.json --statistics", code=2).stderr
    assert "is no baseline" in run("critique nets/small --write-baseline nets/alex.yaml", code=2).stderr
    assert Path("nets/alex.yaml").read_text() == kept


def test_statistics_count_over_all(here):
    rows = json.loads(run("critique nets --rule C1 --rule N4 --statistics --format json").stdout)
    assert [(row["code"], row["findings"], row["networks"]) for row in rows] == [("C1", 2, 2), ("N4", 1, 1)]
    table = run("critique nets --rule C1 --rule N4 --statistics").stdout
    assert table.index("C1") < table.index("N4")
    assert run("critique vgg-16 --rule N4 --statistics").stdout == "nothing to object to\n"
    assert "--statistics has the formats" in run("critique nets --statistics --format sarif", code=2).stderr


def test_annotations_stand_on_the_line_of_the_layer(here):
    (line,) = run("critique nets --rule N4 --format github").stdout.splitlines()
    match = re.fullmatch(r"::warning file=nets/alex\.yaml,line=(\d+),title=N4 response-normalisation::.*", line)
    assert match is not None
    assert "norm1" in Path("nets/alex.yaml").read_text().splitlines()[int(match[1]) - 1]


def test_what_cannot_be_read_is_an_annotation_too(here):
    broken = "body: []\nhead: []\ntail: Conf\n"
    Path("nets/broken.yaml").write_text(broken)
    for names in ("nets", "nets/broken.yaml"):
        result = run(f"critique {names} --rule S --format github", code=2)
        (line,) = [one for one in result.stdout.splitlines() if "there is no layer" in one]
        assert line.startswith(
            "::error file=nets/broken.yaml,line=3,title=cannot be criticised::nets/broken.yaml, line"
        )
        assert "cnnatomy: nets/broken.yaml, line 3: there is no layer" in result.stderr
    missing = run("critique missing.yaml --format github", code=2).stdout
    assert missing.startswith("::error file=missing.yaml,line=1,title=cannot be criticised::missing.yaml: cannot read")
    assert run("critique alexnett --format github", code=2).stdout.startswith("::error title=cannot be criticised::")


def test_a_baseline_knows_a_network_in_every_spelling(here):
    run("critique VGG16 LeNet5 --write-baseline known.json")
    networks = {row["network"] for row in json.loads(Path("known.json").read_text())["findings"]}
    assert networks == {"vgg-16", "lenet-5"}
    for name in ("lenet-5", "LENET_5", "lenet"):
        assert findings(f"{name} --baseline known.json") == []
    Path("known.json").write_text(Path("known.json").read_text().replace('"lenet-5"', '"LeNet5"'))
    assert findings("lenet-5 --baseline known.json") == []  # one that was written before


def test_a_latency_of_a_file_without_a_device_is_told_with_file_and_key(here):
    settings('latency = "20ms"')
    told = run("critique lenet-5", code=2).stderr
    assert told.startswith(f"cnnatomy: {here / 'pyproject.toml'}: tool.cnnatomy.critique: latency is one on a device")
    run("critique lenet-5 --device t4")
    assert "pyproject" not in run("critique lenet-5 --latency 2ms", code=2).stderr


def test_fix_is_for_one_design_and_not_for_a_folder(here):
    assert "--fix is for one design, nets/ is a folder" in run("critique nets/ --fix x.yaml", code=2).stderr
    assert "--diff is for one design, nets is a folder" in run("critique nets --diff", code=2).stderr


def test_fix_is_for_one_network(here):
    assert "--fix is for one network" in run("critique nets alexnet --fix new.yaml", code=2).stderr
    for option in ("--statistics", "--designs-only", "--baseline x.json", "--write-baseline x.json"):
        assert "leave out" in run(f"critique nets/alex.yaml --fix new.yaml {option}", code=2).stderr
    assert not Path("new.yaml").exists()


def test_settings_of_a_design_survive_its_fix(here):
    said = "critique:\n  # meant\n  ignore: [S]\n"
    tail = "tail:\n- Conv: {channels: 8, kernel: 3}\n- ReLU\n- ReLU\n"
    text = f"input: [3, 32, 32]\n{tail}body: []\nhead:\n  LinearHead: {{classes: 10}}\n"
    Path("twice.yaml").write_text(text + said)
    run("critique twice.yaml --rule W6 --fix once.yaml")
    fixed = Path("once.yaml").read_text()
    assert "# meant" in fixed
    assert fixed.count("ReLU") == 1 + fixed.partition("input:")[0].count("ReLU")
    assert listed.read(fixed) == listed.read(text.replace("- ReLU\n- ReLU\n", "- ReLU\n"))


TWICE = """\
# Mine.
input: [3, 32, 32]
tail:   # as in the paper
- ReLU
- Conv: {kernel: 3, channels: 8}  # first
- ReLU
- ReLU   # once more
body: []
head:
  LinearHead: {classes: 10}   # digits"""


@pytest.mark.skipif(shutil.which("patch") is None, reason="there is no `patch`")
@pytest.mark.parametrize("path", ["twice.yaml", "nets/of mine/twice.yaml"])
@pytest.mark.parametrize("end", ["", "\n", "\ncritique: {ignore: [S]}  # small\n", "\nname: other\n"])
def test_a_difference_is_one_of_the_file_which_patch_applies(here, path, end):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    for ends, mark in (("\n", ""), ("\r\n", ""), ("\r\n", "\ufeff")):
        text = mark + (TWICE + end).replace("\n", ends)
        Path(path).write_text(text, newline="")
        Path("fix.diff").write_bytes(run(f"critique '{path}' --rule W6 --diff").stdout_bytes)
        assert f"\n--- {path}" in Path("fix.diff").read_text()
        subprocess.run(["patch", "-p0", "--binary", "-i", "fix.diff"], check=True, capture_output=True)
        assert Path(path).read_bytes().decode() == text.replace(f"- ReLU   # once more{ends}", "")


@pytest.mark.skipif(shutil.which("patch") is None, reason="there is no `patch`")
def test_a_difference_of_a_whole_file_is_applied_too_and_says_that_comments_go(here):
    text = (
        "name: a\ninput: [3, 8, 8]\ntail: ReLU  # mine\nbody:\n- &one ReLU\n- Conv: {channels: 8, kernel: 3}\n- *one\n"
    )
    Path("a.yaml").write_text(f"{text}head:\n  LinearHead: {{classes: 10}}\n")
    printed = run("critique a.yaml --rule W6 --diff").stdout
    assert "# the whole file is written again: its comments are lost\n--- a.yaml\n+++ a.yaml\n" in printed
    Path("fix.diff").write_text(printed)
    subprocess.run(["patch", "-i", "fix.diff"], check=True, capture_output=True)
    assert [node.path for node in listed.read(Path("a.yaml").read_text()).graph()][:2] == ["tail", "body.conv"]


def test_a_fix_keeps_the_text_of_the_design(here):
    Path("twice.yaml").write_text(f"name: twice # so far\n{TWICE}\n")
    run("critique twice.yaml --rule W6 --fix once.yaml")
    head, _, rest = Path("once.yaml").read_text().partition("name: ")
    assert "name: " + rest == f"name: once # so far\n{TWICE}\n".replace("- ReLU   # once more\n", "")
    assert head.startswith("# twice after `cnnatomy critique --fix`:\n# W6 idle-nonlinearity (safe): ")
    listed.read(Path("once.yaml").read_text())


def test_a_byte_order_mark_is_no_part_of_a_design(here):
    Path("twice.yaml").write_text(f"\ufeff{TWICE}\n")
    log = json.loads(run("critique twice.yaml --rule W6 --format sarif").stdout)
    (fixed,) = log["runs"][0]["results"][0]["fixes"]
    (replacement,) = fixed["artifactChanges"][0]["replacements"]
    assert replacement == {"deletedRegion": {"startLine": 7, "startColumn": 1, "endLine": 8, "endColumn": 1}}


def test_what_a_step_brings_in_and_what_is_refused_are_comments(here):
    (step,) = chosen(["N2"], [])
    introduced = Finding(step, "note", ("tail",), "it is\nso", {})
    network = listed.read(TWICE)
    made = fix(network, Purpose(), chosen(["W6"], []))
    steps = [made.steps[0]._replace(introduced=(introduced,))]
    fixed = made._replace(steps=steps, refused=[(introduced, "it would undo what another remedy did")])
    done = fixes.Done(fixed, network.account(), None, 0)
    Path("twice.yaml").write_text(TWICE)
    for text in (difference(network, done, None), difference(network, done, Path("twice.yaml"))):
        assert "\n#   brings in note N2 bias-before-batch-norm: it is\\nso\n" in text
        assert "\n# not applied: N2 bias-before-batch-norm: tail: it would undo what another remedy did\n---" in text
    assert "#   brings in note N2" in write_design(network, fixed, Path("new.yaml"), Path("twice.yaml")).read_text()


def test_what_is_refused_is_dear_beside_the_design_that_is_left():
    fixed = fix(cn.network("vgg-16"), Purpose(), chosen(["C1"], []), unsafe=True)
    as_before = Remedy("as it was", None, Cost.of(fixed.steps[0].before))
    refused = [(Finding(*chosen(["N2"], []), "note", (), "it is", {}, (as_before,)), "it is not wanted")]
    done = fixes.Done(fixed._replace(refused=refused), fixed.network.account(), None, 0)
    (record,) = fixes.fix_record(done)["not_applied"]
    assert record["remedy"]["dear"]  # 8 times as many parameters


def test_where_nothing_is_applied_the_difference_is_a_comment(here):
    assert run("critique lenet-5 --rule N4 --diff").stdout.startswith("# There is nothing that a program may apply")


def test_each_rule_links_to_its_page(here, monkeypatch):
    from email.message import Message

    said = Message()
    said["Project-URL"] = "Repository, https://example.org/cnnatomy/"
    monkeypatch.setattr(sarif, "metadata", lambda name: said)
    log = json.loads(run("critique alexnet --format sarif").stdout)
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(log)
    headings = re.findall(r"^### (\S+) (\S+)$", rules.page(), re.M)
    anchors = {code: f"{code.lower()}-{name}" for code, name in headings}  # as GitHub makes them of headings
    for rule in log["runs"][0]["tool"]["driver"]["rules"]:
        assert rule["helpUri"] == f"https://example.org/cnnatomy/blob/main/docs/rules.md#{anchors[rule['id']]}"


def test_the_settings_of_the_documentation_hold(here):
    page = (ROOT / "docs" / "critique.md").read_text()
    (project,) = re.findall(r"```toml\n(.*?)```", page, re.S)
    (design,) = [text for text in re.findall(r"```yaml\n(.*?)```", page, re.S) if "critique:\n  ignore" in text]
    Path("mine.yaml").write_text(design)
    result = run("critique mine.yaml --rule W7")
    assert result.stdout.endswith("nothing to object to; 1 suppressed\n")
    assert result.stderr == ""
    Path("pyproject.toml").write_text(project)
    run("critique alexnet --write-baseline critique.json")
    record = json.loads(run("critique alexnet --rule C1 --rule N4 --format json").stdout)
    assert record["purpose"]["device"] == "rtx-4090"
    assert [one["code"] for one in record["suppressed"]] == ["C1"]
    assert record["known"] == 1


def test_the_commands_of_the_documentation_run(here, monkeypatch):
    page = (ROOT / "docs" / "critique.md").read_text().partition("## As a linter")[2].partition("\n## ")[0]
    Path("nets").rename("designs")
    Path("nets").mkdir()
    Path("designs/small/le.yaml").rename("nets/small.yaml")
    commands = re.findall(r"^(?:.*(?:run|entry): )?cnnatomy (critique .*)$", page, re.M)
    assert len(commands) == 5
    for command in commands:
        run(command, code=0 if "baseline" in command or "strict" not in command else 2)  # the hook is given names


def test_the_hook_calls_what_there_is(here):
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    program, *words = [*hook["entry"].split(), *hook["args"]]
    assert (program, hook["id"], hook["language"]) == ("cnnatomy", "cnnatomy-critique", "python")
    names = sorted(str(path) for path in Path("nets").rglob("*") if re.search(hook["files"], path.name))
    assert names == ["nets/alex.yaml", "nets/ci.yml", "nets/small/le.yaml"]
    assert "2 networks" in run(" ".join([*words, *names]), code=1).stdout
    assert run(" ".join([*words, "nets/ci.yml"])).stdout == ""
