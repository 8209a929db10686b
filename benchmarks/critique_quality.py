"""How good the critique is: what it says of networks against what a reviewer says, from `docs/critique-judged.yaml`.

python benchmarks/critique_quality.py            precision and recall, for each set of networks
python benchmarks/critique_quality.py --details  and what is noise, what is missed, and what nobody has judged yet

Precision: of what is printed by default, the part that was judged right. Recall: of what the reviewer calls a warning
or an error, the part that some finding says, by itself or as the consequence of another. The reviewers wrote before the
list was seen, and had not written the rules. The designs of `second` and `third` were judged by others, and not looked
at before they were first measured.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import yaml

import cnnatomy as cn
from cnnatomy.analysis import account
from cnnatomy.commands.criticise import critique as command
from cnnatomy.critique import RULES, SEVERITIES, Finding, Purpose, Study, flat, judged
from cnnatomy.design.graph import Graph
from cnnatomy.readers import read_graph
from cnnatomy.report.memory import parse_size

ROOT = Path(__file__).resolve().parents[1]
JUDGED = ROOT / "docs" / "critique-judged.yaml"


class Judgement(NamedTuple):
    """What a reviewer says of one network, and of what the critique says of it.

    Attributes:
        network: a name of the catalogue, a path below the repository, or `timm:` and a name of timm.
        set: which networks it is one of.
        remarks: `severity`, `says`, and under `found` the code of the rule that says the same.
        verdicts: `right` or `noise` by code and severity of a finding.
        findings: what the critique says now.
    """

    network: str
    set: str
    remarks: list[dict[str, Any]]
    verdicts: dict[tuple[str, str], str]
    findings: list[Finding]

    @property
    def important(self) -> list[dict[str, Any]]:
        """The remarks that are warnings or errors."""
        return [remark for remark in self.remarks if remark["severity"] != "note"]

    def verdict(self, finding: Finding) -> str:
        """Right, noise or unjudged."""
        return self.verdicts.get((finding.rule.code, finding.severity), "unjudged")

    def is_found(self, remark: dict[str, Any]) -> bool:
        """Whether a finding says the same, from a warning up where it stands by itself."""
        said = {f.rule.code for top in self.findings if top.severity != "note" for f in flat([top])}
        return remark.get("found") in said


def judgements(only: str | None = None) -> Iterator[Judgement]:
    """What was judged, with what the critique says now; of one set of networks, if it is named."""
    for entry in yaml.safe_load(JUDGED.read_text(encoding="utf-8"))["networks"]:
        if only not in (None, entry["set"]):
            continue
        verdicts = {(one["rule"], one["severity"]): one["verdict"] for one in entry.get("findings", [])}
        findings = findings_in(entry["network"], entry.get("options", ""))
        yield Judgement(entry["network"], entry["set"], entry["reviewer"], verdicts, findings)


def findings_in(network: str, options: str = "") -> list[Finding]:
    """What `cnnatomy critique` prints of a network by default, asked with these options."""
    asked = command.make_context("critique", [network, *shlex.split(options)]).params
    keys = ("task", "classes", "objects", "device", "latency")
    memory = parse_size(asked["memory"]) if asked["memory"] else None
    purpose = Purpose(memory=memory, **{key: asked[key] for key in keys})
    return judged(Study(account(graph_of(network), network), purpose), RULES)


def graph_of(network: str) -> Graph:
    """The graph of a network; timm's are built without numbers."""
    if network.startswith("timm:"):
        sys.path.insert(0, str(ROOT / "tests"))
        from peers import on_meta

        return cn.read(*on_meta(network))
    file = ROOT / network
    graph, _ = read_graph(str(file) if file.is_file() else network)
    return graph


COLUMNS = "networks", "findings", "right", "noise", "unjudged", "precision", "flaws", "found", "recall", "above a note"


def rows(everything: Sequence[Judgement]) -> dict[str, list[str]]:
    """The figures of each set of networks, by `COLUMNS`."""
    found: dict[str, list[str]] = {}
    for name in dict.fromkeys(one.set for one in everything):
        those = [one for one in everything if one.set == name]
        verdicts = [one.verdict(finding) for one in those for finding in one.findings]
        remarks = [one.is_found(remark) for one in those for remark in one.important]
        worse = sum(finding.severity != SEVERITIES[0] for one in those for finding in one.findings)
        right, noise, unjudged = (verdicts.count(verdict) for verdict in ("right", "noise", "unjudged"))
        counts = [len(those), len(verdicts), right, noise, unjudged]
        found[name] = [*map(str, counts), _ratio(right, right + noise), str(len(remarks)), str(sum(remarks))]
        found[name] += [_ratio(sum(remarks), len(remarks)), str(worse)]
    return found


def _ratio(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"


def table(figures: dict[str, list[str]]) -> str:
    """The figures as Markdown, which is how the documentation shows them."""
    lines = [["set", *COLUMNS], ["---", *["--:"] * len(COLUMNS)], *[[name, *cells] for name, cells in figures.items()]]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--details", action="store_true", help="what is noise, missed, or not judged")
    parser.add_argument("--set", help="only the networks of this set")
    details, only = vars(parser.parse_args()).values()
    everything = list(judgements(only))
    print(table(rows(everything)))
    if details:
        for one in everything:
            _details(one)


def _details(one: Judgement) -> None:
    said = [
        f"  {verdict:<8} {finding.severity} {finding.rule.code} {finding.rule.name}: {finding.text}"
        for finding in one.findings
        if (verdict := one.verdict(finding)) != "right"
    ]
    said += [
        f"  missed   {remark['severity']}: {remark['says']}" for remark in one.important if not one.is_found(remark)
    ]
    if said:
        print("\n".join([f"\n{one.network}", *said]))


if __name__ == "__main__":
    try:
        main()
    except click.ClickException as error:
        sys.exit(str(error))
