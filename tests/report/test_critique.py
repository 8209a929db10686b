"""`cnnatomy critique` and `cnnatomy rules`: what people read, what programs read, and what a mistake gets."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

import cnnatomy as cn
from cnnatomy.cli import main
from cnnatomy.critique import RULES, SEVERITIES, Case, Finding, Purpose, Remedy, critique
from cnnatomy.critique.rule import rule
from cnnatomy.edits.change import Cost
from cnnatomy.errors import UserError
from cnnatomy.readers.yaml import design, listed
from cnnatomy.report import findings as shown
from cnnatomy.report import rules as explained
from cnnatomy.report import sarif
from kinds import DEPTH, QUICK, others_in_full

jsonschema = pytest.importorskip("jsonschema")
DATA = Path(__file__).parent / "data"
PRINTED = {name for name in QUICK if DEPTH[name] <= 75} | {"densenet-121", "nasnet-a-mobile"}
DESIGNS = Path(__file__).parents[1] / "designs"
READERS = Path(__file__).parents[1] / "readers" / "data"
DOCS = Path(__file__).resolve().parents[2] / "docs"
EVERYTHING = Purpose("segmentation", 19, (4, 900), "t4", memory=1_000_000, latency=1e-4)
LRN = ("--rule", "response-normalisation")


@pytest.fixture
def run(monkeypatch):
    def run(*arguments: str, width: int = 120, code: int = 0) -> str:
        monkeypatch.setenv("COLUMNS", str(width))
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        assert result.exit_code == code, result.output
        return result.output

    return run


@rule("X1", "made-up", "note", "nobody")
def made_up(study):
    """Something that is made up.

    Smith et al. 2015 measured it, e.g. in figure 2. Here is more of it.
    """
    yield Case(("body",), "one thing", {"things": 1})
    yield Case(tuple(f"body.conv{i}" for i in range(9)), "nine things", {}, Remedy("halve it", None, Cost(1, 2, 3)))


@rule("X2", "worse", "error", "nobody")
def worse(study):
    """Something worse."""
    yield Case((), "all of it", {})


def plain(name: str = "lenet-5", rules=(made_up, worse)) -> str:
    account = cn.network(name).account()
    return shown.report(account, critique(account, rules=rules), "table")


def test_the_worst_comes_first_and_cases_of_one_rule_stand_together(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    text = plain()
    assert text.index("error X2 worse: Something worse.") < text.index("note X1 made-up: Something that is made up.")
    assert text.startswith("First: look at the network. Why: all of it (X2 worse).\n")
    assert text.count("note X1 made-up") == 1
    assert "one thing" in text
    assert "body.conv0, body.conv1, body.conv2, body.conv3, body.conv4, body.conv5" in text
    assert "and 3 more" in text
    assert "conv6" not in text
    assert "Smith et al. 2015 measured it, e.g. in figure 2.\n" in text
    assert "Here is more" not in text
    assert "1 error, 2 notes" in text
    assert max(map(len, text.splitlines())) <= 80


@rule("X3", "consequence", "note", "nobody")
def consequence(study):
    """What comes of something worse."""
    yield Case(("body",), "it follows", {}, under=("X9", "X2"))


@rule("X4", "seldom", "warning", "nobody")
def seldom(study):
    """What seldom matters."""
    yield Case(("body",), "hardly ever", {}, quiet=True)


def test_a_consequence_is_told_with_its_cause_and_without_it_by_itself():
    text = plain(rules=(consequence, worse))
    assert "  so      X3 consequence: it follows" in text
    assert text.endswith("1 error (more about a rule: cnnatomy rules NAME)")
    (record,) = shown.record(cn.network("lenet-5").account(), Purpose(), found((consequence, worse)))["findings"]
    assert [one["code"] for one in record["consequences"]] == ["X3"]
    assert [finding.rule for finding in found((consequence, made_up))] == [made_up, made_up, consequence]


def found(rules, pedantic=()):
    return critique(cn.network("lenet-5"), rules=rules, pedantic=pedantic)


def test_what_seldom_matters_is_said_only_when_it_is_asked_for():
    assert found([seldom, worse]) == found([worse])
    assert [finding.rule for finding in found([seldom, worse], [seldom])] == [worse, seldom]


@rule("X5", "dear", "note", "nobody")
def dear(study):
    """Two ways to go."""
    before = study.cost
    ways = [Remedy("spend", None, before._replace(macs=2 * before.macs)), Remedy("save", None, before)]
    yield Case(("body",), "costs", {}, ways)
    yield Case(("head",), "costs", {}, ways[:1])


def test_of_two_remedies_the_cheaper_stands_first_and_a_dear_one_is_called_so():
    both, one = found([dear])
    assert [remedy.text for remedy in both.remedies] == ["save", "spend"]
    assert [remedy.text for remedy in one.remedies] == ["spend"]
    text = plain(rules=[dear])
    assert text.index("remedy  save") < text.index("or      spend")
    assert text.count("dear: no cheaper remedy is known") == 1


def test_the_severity_is_coloured_unless_that_is_not_wanted(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[31m\x1b[1merror\x1b[0m X2" in plain()
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in plain()


def test_nothing_to_object_to():
    assert plain(rules=()).endswith("nothing to object to")


def test_alexnet_has_two_layers_of_response_normalisation(run):
    text = run("critique", "alexnet", *LRN)
    assert "warning N4 response-normalisation" in text
    assert "tail.norm1, body.norm2" in text
    assert "+704 parameters" in text  # scales and offsets of 96 and 256 channels
    assert "1 warning (1 remedy by --fix NEW.yaml --unsafe-fixes; more about a rule: cnnatomy rules NAME)" in text
    assert "nothing to object to" in run("critique", "vgg-16", *LRN)


@pytest.mark.parametrize("width", [40, 60, 80, 160])
@pytest.mark.parametrize("name", ["alexnet", "googlenet-aux", "mobilenet-v1-1.0"])
def test_it_fits_the_terminal(run, name, width):
    lines = run("critique", name, "--objects", "24:400", width=width).splitlines()
    long_words = {line for line in lines if len(line.split()) == 1}
    assert max((len(line) for line in lines if line not in long_words), default=0) <= max(width, 40)


def test_json_keeps_its_promises(run):
    printed = json.loads(run("critique", "alexnet", "--objects", "24:200", "--format", "json"))
    assert (printed["name"], printed["input"]) == ("alexnet", [3, 227, 227])
    assert printed["purpose"]["objects"] == [24, 200]
    assert printed["purpose"]["latency"] is None
    assert printed["totals"]["parameters"] == 60_965_224
    assert sum(printed["count"].values()) == len(printed["findings"])
    paths = {node.path for node in cn.network("alexnet").graph()}
    for finding in printed["findings"]:
        assert set(finding) == {
            *("code", "rule", "severity", "quiet", "title", "where", "text", "evidence", "why", "source"),
            *("remedy", "alternatives", "consequences"),
        }
        assert finding["severity"] in SEVERITIES
        assert all(any(path == where or path.startswith(f"{where}.") for path in paths) for where in finding["where"])
    (finding,) = [finding for finding in printed["findings"] if finding["code"] == "N4"]
    assert finding["evidence"]["layers"] == 2
    assert finding["remedy"]["after"]["parameters"] == 60_965_928
    documented = (DOCS / "json.md").read_text()
    for key in ("fix", "not_applied", "unsafe", "gone", "dear", "alternatives", "consequences", "quiet"):
        assert f"`{key}`" in documented


def test_markdown_has_a_heading_for_each_rule(run):
    text = run("critique", "alexnet", *LRN, "--format", "markdown")
    assert "### warning N4 response-normalisation" in text
    assert "- **where**: `tail.norm1`, `body.norm2`" in text
    assert text.endswith("1 warning\n")


@pytest.mark.parametrize(
    ("strict", "code"), [((), 0), (("--strict",), 1), (("--strict=note",), 1), (("--strict", "error"), 0)]
)
def test_strict_exits_1_on_a_severity_or_above_and_prints_all_the_same(run, strict, code):
    assert "response-normalisation" in run("critique", "alexnet", *LRN, *strict, code=code)
    run("critique", "vgg-16", *LRN, *strict)


def test_a_rule_is_named_in_any_spelling(run):
    for name in ("RESPONSE_NORMALISATION", "Response normalisation", "n-4"):
        findings = json.loads(run("critique", "alexnet", "--rule", name, "--format", "json"))["findings"]
        assert [finding["code"] for finding in findings] == ["N4"]
    assert "N4 response-normalisation" in run("rules", "response_normalisation")


def test_the_last_line_counts_what_fix_applies(run, tmp_path):
    """The first remedy of two pools in a row is unsafe, the second one safe."""
    name = DESIGNS / "f15-redundant-pool.yaml"
    assert "(2 remedies by --fix NEW.yaml; more" in run("critique", name)
    fixed = json.loads(run("critique", name, "--fix", tmp_path / "new.yaml", "--format", "json"))["fix"]
    assert len(fixed["applied"]) == 2
    unsafe = json.loads(run("critique", name, "--unsafe-fixes", "--fix", tmp_path / "b.yaml", "--format", "json"))
    assert [step["fix"] for step in unsafe["fix"]["applied"]] == ["safe", "safe"]  # of equal cost


def test_rules_are_chosen_by_name_or_code(run):
    findings = json.loads(run("critique", "alexnet", "--rule", "n4", "--format", "json"))["findings"]
    assert [finding["code"] for finding in findings] == ["N4"]
    left = json.loads(run("critique", "alexnet", "--ignore", "C6", "--format", "json"))["findings"]
    everything = json.loads(run("critique", "alexnet", "--format", "json"))["findings"]
    assert [finding["code"] for finding in left] == [f["code"] for f in everything if f["code"] != "C6"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("alexnett",), "Did you mean alexnet"),
        (("alexnet", "--rule", "response-normalization"), "Did you mean response-normalisation"),
        (("alexnet", "--ignore", "Z9"), "there is no rule 'Z9'"),
        (("alexnet", "--latency", "20", "--device", "t4"), "is not a time"),
        (("alexnet", "--latency", "20ms"), "a latency is one on a device"),
        (("alexnet", "--objects", "400:24"), "the smallest and the largest side"),
        (("alexnet", "--memory", "8"), "not a size"),
        (("alexnet", "--device", "t5"), "there is no device 't5'"),
        (("alexnet", "--task", "guessing"), "is not one of"),
        (("alexnet", "--strict", "fatal"), "is not one of"),
        (("alexnet", "--fix", "there.json"), "a design is written to a file that ends in .yaml"),
        (("alexnet", "--unsafe-fixes", "--fix", "no/such/folder.yaml"), "there is no folder no/such"),
        (("lenet-5", "--rule", "N4", "--fix", "nowhere/a.yaml"), "there is no folder nowhere"),
        (("alexnet", "--fix", " "), "expected the name of a file, got an empty one"),
        (("alexnet", "--baseline", ""), "expected the name of a file, got an empty one"),
        (("alexnet", "--write-baseline", ""), "expected the name of a file, got an empty one"),
        *[(("alexnet", "--diff", "--format", kind), f"is not {kind}") for kind in ("json", "sarif", "github")],
        (("missing.yaml",), "cannot read the design"),
    ],
)
def test_a_mistake_gets_one_message_and_exit_code_2(run, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    assert said in run("critique", *arguments, code=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "seconds"), [("20ms", 0.02), ("1.5s", 1.5), ("800us", 8e-4), ("800 µs", 8e-4), ("2 S", 2.0)]
)
def test_times_are_read_as_people_write_them(text, seconds):
    from cnnatomy.commands.options import SECONDS

    assert SECONDS.convert(text, None, None) == pytest.approx(seconds)


def test_classes_of_a_design_are_told_to_the_rules_and_not_asked_of_it(run, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(design.write(cn.network("lenet-5")))
    printed = json.loads(run("critique", str(file), "--classes", "19", "--format", "json"))
    assert printed["purpose"]["classes"] == 19
    rebuilt = json.loads(run("critique", "lenet-5", "--classes", "19", "--format", "json"))
    assert rebuilt["totals"]["parameters"] == cn.network("lenet-5", classes=19).account().totals.parameters


def test_networks_of_others_are_criticised_too(run):
    prototxt = READERS / "residual.prototxt"
    assert json.loads(run("critique", prototxt, "--classes", "8", "--format", "json"))["purpose"]["classes"] == 8


def test_networks_of_others_become_designs_by_nodes(run, tmp_path):
    file = tmp_path / "new.yaml"
    printed = json.loads(
        run("critique", READERS / "fire.prototxt", "--unsafe-fixes", "--fix", file, "--format", "json")
    )
    steps = printed["fix"]["applied"]
    assert "N4" in [step["code"] for step in steps]
    for step in steps:
        after = step["remedy"]["after"]
        assert {key: step["after"][key] for key in after} == after
    network = listed.read(file.read_text())
    assert sum(p.numel() for p in network.build().parameters()) == printed["totals"]["parameters"]
    unknown = run("critique", READERS / "residual.prototxt", "--fix", tmp_path / "none.yaml", code=2)
    assert "is none of our layers" in unknown


@functools.cache
def schema_of_sarif():
    return jsonschema.Draft202012Validator(json.loads((DATA / "sarif-schema-2.1.0.json").read_text()))


@pytest.mark.parametrize("name", ["alexnet", "googlenet-aux", "resnet-50", "mobilenet-v1-1.0"])
def test_sarif_is_valid_by_the_schema_of_oasis(run, name):
    log = json.loads(run("critique", name, "--format", "sarif"))
    schema_of_sarif().validate(log)
    (made,) = log["runs"]
    rules = made["tool"]["driver"]["rules"]
    assert [each["id"] for each in rules] == [each.code for each in RULES]
    for result in made["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in SEVERITIES


def test_sarif_says_where_as_paths_and_as_lines_of_the_design(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(design.write(cn.network("alexnet")))
    log = json.loads(run("critique", "mine.yaml", *LRN, "--format", "sarif"))
    schema_of_sarif().validate(log)
    (result,) = log["runs"][0]["results"]
    (location,) = result["locations"]
    assert [place["fullyQualifiedName"] for place in location["logicalLocations"]] == ["tail.norm1", "body.norm2"]
    assert location["physicalLocation"]["artifactLocation"] == {"uri": "mine.yaml"}
    line = location["physicalLocation"]["region"]["startLine"]
    assert "norm1" in Path("mine.yaml").read_text().splitlines()[line - 1]


def test_a_fix_of_sarif_makes_the_design_that_the_remedy_announces(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = design.write(cn.network("alexnet")) + "critique: {pedantic: true}\n"
    Path("mine.yaml").write_text(text)
    log = json.loads(run("critique", "mine.yaml", *LRN, "--format", "sarif"))
    schema_of_sarif().validate(log)
    (result,) = log["runs"][0]["results"]
    (fixed,) = result["fixes"]
    assert fixed["description"]["text"].endswith(" (unsafe)")
    (change,) = fixed["artifactChanges"]
    assert change["artifactLocation"] == {"uri": "mine.yaml"}
    lines = text.splitlines(keepends=True)
    for one in reversed(change["replacements"]):
        first, last = (one["deletedRegion"][key] - 1 for key in ("startLine", "endLine"))
        lines[first:last] = [one.get("insertedContent", {}).get("text", "")]
    account = listed.read("".join(lines)).account()
    assert account.totals.parameters == result["properties"]["remedy"]["after"]["parameters"] == 60_965_928
    assert "".join(lines).endswith("critique: {pedantic: true}\n")
    (other,) = json.loads(run("critique", "mine.yaml", "--input", "3x259x259", *LRN, "--format", "sarif"))["runs"]
    assert "fixes" not in other["results"][0]


def test_a_finding_about_the_whole_network_has_its_name_for_a_place():
    finding, mine = Finding(worse, "error", (), "all of it", {}), cn.network("lenet-5").replace(name="mine").account()
    log = json.loads(sarif.log([worse], sarif.results([finding], [worse], mine)))
    schema_of_sarif().validate(log)
    assert log["runs"][0]["results"][0]["locations"][0]["logicalLocations"][0]["fullyQualifiedName"] == "mine"


def test_every_rule_is_listed_and_explained(run):
    listed = run("rules")
    for each in RULES:
        assert f"{each.code} " in listed
        assert each.name in listed
        text = " ".join(run("rules", each.name).split())
        assert " ".join(each.why.split())[:40] in text
        assert " ".join(each.source.split()) in text
        assert all(" ".join(design.split()) in text for design in (each.example.bad, each.example.good))
        assert run("rules", each.code.lower()) == run("rules", each.name)
    assert [told["example"]["bad"] for told in json.loads(run("rules", "--format", "json"))] == [
        each.example.bad for each in RULES
    ]
    assert f"```yaml\n{RULES[0].example.good}```" in run("rules", RULES[0].name, "--format", "markdown")
    assert "Did you mean response-normalisation" in run("rules", "response-normalization", code=2)


def test_the_rules_have_different_codes_and_names_and_say_why():
    assert len({each.code for each in RULES}) == len({each.name for each in RULES}) == len(RULES)
    for each in RULES:
        assert each.title.endswith(".")
        assert each.why
        assert each.source
        assert each.code[0] in explained.SUBJECTS


def test_the_page_of_rules_is_up_to_date():
    assert (DOCS / "rules.md").read_text(encoding="utf-8") == explained.page(), "run `make tables`"


@pytest.mark.slow
def test_the_table_of_networks_and_rules_is_up_to_date():
    assert (DOCS / "critique-table.md").read_text(encoding="utf-8") == explained.table(), "run `make tables`"


def test_an_unknown_rule_is_a_user_error():
    from cnnatomy.critique.settings import chosen

    with pytest.raises(UserError, match="there is no rule"):
        chosen(["nothing-of-the-kind"], [])


def test_the_documentation_shows_what_is_printed(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    page = (DOCS / "critique.md").read_text()
    examples = re.findall(r"```\n\$ cnnatomy (critique [^\n]*)\n\n(.*?)\n```", page, re.S)
    assert len(examples) == 2
    for command, shown_there in examples:
        assert shown_there == run(*command.split(), width=118).rstrip(), "run `make tables`"


def test_the_readme_shows_what_is_printed(run):
    readme = (DOCS.parent / "README.md").read_text()
    assert f"asks {len(RULES)} rules" in readme
    assert explained.origins() in " ".join(readme.split())
    assert f"which of the {len(cn.ENTRIES)} networks" in readme
    (example,) = re.findall(r"```\n(warning C1 .*?)\n```", readme, re.S)
    printed = run("critique", "vgg-16", "--rule", "C1", width=118)
    assert all(line in printed for line in example.splitlines())


def test_the_python_of_the_documentation_runs(capsys):
    names: dict = {}
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / "critique.md").read_text(), re.S)
    exec(code, names)  # our own documentation
    assert names["better"].account().totals.parameters < names["network"].account().totals.parameters / 5
    assert "vectorised-head" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("name", others_in_full(PRINTED))
@pytest.mark.parametrize("purpose", [Purpose(), EVERYTHING], ids=["nothing-said", "everything-said"])
def test_the_whole_catalogue_can_be_printed_in_every_format(purpose, name):
    account = cn.network(name).account()
    found = critique(account, purpose)
    texts = [shown.report(account, found, format) for format in ("table", "markdown")]
    texts += [finding.text for finding in found]
    assert not [text for text in texts if "None" in text or "nan" in text]
    assert len(json.loads(json.dumps(shown.record(account, purpose, found)))["findings"]) == len(found)
    log = json.loads(sarif.log(RULES, sarif.results(found, RULES, account)))
    assert len(log["runs"][0]["results"]) == len(found)
    schema_of_sarif().validate(log)
