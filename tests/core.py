"""What describes, counts and criticises runs with PyYAML alone: in a browser, or in a script of yours.

`make core` runs this file in an environment that holds PyYAML, this package and nothing else; `test_core.py` runs it
where everything is installed, and there whatever else is imported is as if it were not.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from importlib.machinery import ModuleSpec
from pathlib import Path

TESTS = Path(__file__).parent
CORE = {*sys.stdlib_module_names, "cnnatomy", "yaml", "_yaml"}


class Nothing:
    """Finds no module outside the core, wherever it may be installed."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name.partition(".")[0] not in CORE:
            raise ModuleNotFoundError(f"{name} is not of the core", name=name)
        return None


def outside(names: Iterable[str]) -> set[str]:
    """Of these modules those that are not of the core; what has no file is part of PyYAML's compiled half."""
    return {name for name in names if name.partition(".")[0] not in CORE and getattr(sys.modules[name], "__file__", "")}


def check_networks() -> None:
    """All are counted, and 71 of them, at the sizes of the goldens, to the integers there."""
    import cnnatomy as cn

    assert len(cn.ENTRIES) >= 133
    for entry in cn.ENTRIES:
        totals = entry.network().account().totals
        assert totals.parameters > 0, entry.name
        assert totals.macs > 0, entry.name
        assert totals.not_counted == 0, entry.name
    goldens = json.loads((TESTS / "goldens" / "networks.json").read_text(encoding="utf-8"))
    for name, want in goldens.items():
        totals = cn.network(name.replace("_", "-"), input=tuple(want["input"])).account().totals
        assert (totals.parameters, totals.macs) == (want["parameters"], want["macs"]), name


def check_files() -> None:
    """A design and a Caffe file, worked out by hand; a design that is written reads back as the same network."""
    import cnnatomy as cn
    from cnnatomy.analysis import account
    from cnnatomy.readers import read_graph
    from cnnatomy.readers.yaml import draft, listed, schema

    for file, parameters, macs in (
        ("designs/small.yaml", 170_410, 72_188_544),
        ("readers/data/fire.prototxt", 9_830, 127_232),
    ):
        totals = account(*read_graph(str(TESTS / file))).totals
        assert (totals.parameters, totals.macs) == (parameters, macs), file
    network = cn.network("resnet-50")
    assert listed.read(listed.write(network)) == network
    assert listed.read(draft.text("mine", "mine.yaml")).name == "mine"
    assert json.loads(schema.text())["type"] == "object"
    refused = ""
    try:
        listed.read("tail: []\nhead: ReLU\nbody:\n  Conv: {channels: 1.5, kernel: 3}", "x.yaml")
    except cn.UserError as error:
        refused = str(error)
    assert refused == "x.yaml, line 4: channels: expected int, got 1.5"


def check_records() -> None:
    """What `show`, `compare`, `critique`, `rules`, `fit` and `roofline` print as JSON."""
    import cnnatomy as cn
    from cnnatomy.analysis.memory.footprint import training
    from cnnatomy.analysis.memory.setting import Setting
    from cnnatomy.critique import RULES, Purpose, critique
    from cnnatomy.report import comparison, findings, memory, records, rules, sarif, timings

    resnet, vgg = (cn.network(name).account() for name in ("resnet-50", "vgg-16"))
    shown = json.loads(json.dumps(records.account_record(resnet)))
    assert (shown["totals"]["parameters"], shown["totals"]["macs"]) == (25_557_032, 4_089_184_256)
    assert shown["receptive_field"] == [427, 427]

    compared = json.loads(json.dumps(comparison.record([resnet, vgg])))
    assert compared["networks"][1]["ratio"]["parameters"] == 138_357_544 / 25_557_032

    purpose = Purpose(device="t4", objects=(24, 400), latency=0.02)
    found = critique(vgg, purpose)
    record = json.loads(json.dumps(findings.record(vgg, purpose, found)))
    assert "C1" in {finding["code"] for finding in record["findings"]}
    log = json.loads(sarif.log(RULES, sarif.results(found, RULES, vgg)))
    assert len(log["runs"][0]["results"]) == len(found)
    assert [rule["code"] for rule in json.loads(rules.explain((), "json"))] == [rule.code for rule in RULES]

    footprint = memory.record(training(resnet.graph, Setting(batch=2)))
    assert json.loads(json.dumps(footprint))["parameters"] == 4 * 25_557_032
    timed = json.loads(timings.roofline(resnet, "t4", 1, "float16", "json"))
    assert sum(node["flops"] for node in timed["nodes"]) == 2 * 4_089_184_256


def main() -> None:
    """Raises AssertionError, or ModuleNotFoundError where something else is imported."""
    before = set(sys.modules)
    sys.meta_path.insert(0, Nothing())
    check_networks()
    check_files()
    check_records()
    others = outside(set(sys.modules) - before)
    assert not others, f"imported besides PyYAML: {', '.join(sorted(others))}"
    print(f"describes, counts and criticises with PyYAML alone, Python {sys.version.partition(' ')[0]}")


if __name__ == "__main__":
    main()
