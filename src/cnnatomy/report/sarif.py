"""Findings as SARIF 2.1.0 (OASIS 2020), which code hosts and editors show beside the code."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import metadata, version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from cnnatomy.analysis import Account
from cnnatomy.critique import Finding, Rule
from cnnatomy.edits.change import Cost
from cnnatomy.report.findings import finding_record, with_remedy

if TYPE_CHECKING:
    from cnnatomy.readers.yaml.lines import Lines

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
PAGE = "blob/main/docs/rules.md"
"""Of the rules, from the address of the project."""


def results(
    findings: Sequence[Finding], rules: Sequence[Rule], account: Account, lines: Lines | None = None
) -> list[dict[str, Any]]:
    """The findings in one network as results of a run that asked these rules.

    `lines` are those of the design that was read, if there is one.
    """
    numbers = {rule.code: i for i, rule in enumerate(rules)}
    return [_result(finding, numbers[finding.rule.code], account, lines) for finding in findings]


def log(rules: Sequence[Rule], results: Sequence[Mapping[str, Any]]) -> str:
    """A log of one run with these results."""
    address = project_address()
    run = {
        "tool": {
            "driver": {
                "name": "cnnatomy",
                "semanticVersion": version("cnnatomy"),
                "rules": [_rule(rule, address) for rule in rules],
                **({"informationUri": address} if address else {}),
            }
        },
        "columnKind": "unicodeCodePoints",
        "results": list(results),
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2)


def uri_of(file: Path) -> str:
    """How a log names a file: from where the command ran."""
    return file.as_uri() if file.is_absolute() else quote(file.as_posix())


def project_address() -> str:
    """Where the project is, as its pyproject.toml says under `urls`; empty where it says nothing."""
    said = (entry.split(", ", 1) for entry in metadata("cnnatomy").get_all("Project-URL") or ())
    urls = {name.lower(): url for name, url in said}
    return next((urls[name] for name in ("repository", "source", "homepage") if name in urls), "").rstrip("/")


def _rule(rule: Rule, address: str) -> dict[str, Any]:
    """A reporting descriptor, with the place of its page in the project."""
    why = f"{rule.why}\n\nSource: {rule.source}"
    return {
        "id": rule.code,
        "name": "".join(word.capitalize() for word in rule.name.split("-")),
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": f"{rule.title} {' '.join(rule.why.split())}"},
        "help": {"text": why, "markdown": why},
        **({"helpUri": f"{address}/{PAGE}#{rule.code.lower()}-{rule.name}"} if address else {}),
        "defaultConfiguration": {"level": rule.severity},
    }


def _result(finding: Finding, index: int, account: Account, lines: Lines | None) -> dict[str, Any]:
    record, name = finding_record(finding, Cost.of(account)), account.name
    message = with_remedy(finding)
    message = message[:1].upper() + message[1:]
    if finding.consequences:
        message += f". So: {'; '.join(f'{one.rule.name}: {one.text}' for one in finding.consequences)}"
    location: dict[str, Any] = {
        "logicalLocations": [{"fullyQualifiedName": path, "kind": "module"} for path in finding.where or (name,)]
    }
    if lines:
        location["physicalLocation"] = {
            "artifactLocation": {"uri": uri_of(lines.file)},
            "region": {"startLine": lines.of(finding.place)},
        }
    return {
        "ruleId": finding.rule.code,
        "ruleIndex": index,
        "level": finding.severity,
        "message": {"text": message + "."},
        "locations": [location],
        "partialFingerprints": {"ruleAndPlace/v1": f"{finding.rule.code}:{finding.place or name}"},
        "properties": {key: record[key] for key in ("evidence", "remedy", "alternatives", "consequences")},
    }
