"""Findings as SARIF 2.1.0 (OASIS 2020), which code hosts and editors show beside the code."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from cnnatomy.analysis import Account
from cnnatomy.critique import Finding, Rule
from cnnatomy.edits.change import Cost
from cnnatomy.report.findings import finding_record

if TYPE_CHECKING:
    from cnnatomy.readers.yaml.lines import Lines

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def sarif(findings: Sequence[Finding], rules: Sequence[Rule], account: Account, lines: Lines | None = None) -> str:
    """A log of one run over a network. `lines` are those of the design that was read, if there is one."""
    numbers = {rule.code: i for i, rule in enumerate(rules)}
    run = {
        "tool": {
            "driver": {
                "name": "cnnatomy",
                "semanticVersion": version("cnnatomy"),
                "rules": [_rule(rule) for rule in rules],
            }
        },
        "columnKind": "unicodeCodePoints",
        "results": [_result(finding, numbers[finding.rule.code], account, lines) for finding in findings],
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2)


def _rule(rule: Rule) -> dict[str, Any]:
    """A reporting descriptor."""
    why = f"{rule.why}\n\nSource: {rule.source}"
    return {
        "id": rule.code,
        "name": "".join(word.capitalize() for word in rule.name.split("-")),
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": f"{rule.title} {' '.join(rule.why.split())}"},
        "help": {"text": why, "markdown": why},
        "defaultConfiguration": {"level": rule.severity},
    }


def _result(finding: Finding, index: int, account: Account, lines: Lines | None) -> dict[str, Any]:
    record, name = finding_record(finding, Cost.of(account)), account.name
    message = finding.text[:1].upper() + finding.text[1:]
    if finding.remedy:
        message += f". Remedy: {finding.remedy.text}"
    if finding.consequences:
        message += f". So: {'; '.join(f'{one.rule.name}: {one.text}' for one in finding.consequences)}"
    location: dict[str, Any] = {
        "logicalLocations": [{"fullyQualifiedName": path, "kind": "module"} for path in finding.where]
        or [{"fullyQualifiedName": name, "kind": "module"}]
    }
    if lines:
        file, line = lines.file, lines.of(finding.where[0]) if finding.where else 1
        location["physicalLocation"] = {
            "artifactLocation": {"uri": file.as_posix() if not file.is_absolute() else file.as_uri()},
            "region": {"startLine": line},
        }
    return {
        "ruleId": finding.rule.code,
        "ruleIndex": index,
        "level": finding.severity,
        "message": {"text": message + "."},
        "locations": [location],
        "partialFingerprints": {
            "ruleAndPlace/v1": f"{finding.rule.code}:{finding.where[0] if finding.where else name}"
        },
        "properties": {key: record[key] for key in ("evidence", "remedy", "alternatives", "consequences")},
    }
