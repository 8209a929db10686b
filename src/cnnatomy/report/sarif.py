"""Findings as SARIF 2.1.0 (OASIS 2020), which code hosts and editors show beside the code."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cnnatomy.critique import Finding, Rule
from cnnatomy.report.findings import finding_record

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def sarif(findings: Sequence[Finding], rules: Sequence[Rule], name: str, file: Path | None = None) -> str:
    """A log of one run. `file` is the design that was read, if one was: results are then shown in it."""
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
        "results": [_result(finding, numbers[finding.rule.code], name, file) for finding in findings],
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


def _result(finding: Finding, index: int, name: str, file: Path | None) -> dict[str, Any]:
    record = finding_record(finding)
    message = finding.text[:1].upper() + finding.text[1:]
    if finding.remedy:
        message += f". Remedy: {finding.remedy.text}"
    location: dict[str, Any] = {
        "logicalLocations": [{"fullyQualifiedName": path, "kind": "module"} for path in finding.where]
        or [{"fullyQualifiedName": name, "kind": "module"}]
    }
    if file:
        line = line_of(finding.where[0], file.read_text(encoding="utf-8")) if finding.where else 1
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
        "properties": {"evidence": record["evidence"], "remedy": record["remedy"]},
    }


def line_of(path: str, text: str) -> int:
    """The line of a YAML design on which a part begins, or the innermost part around it that has a name there."""
    lines = text.splitlines()
    found, depth = 0, -1
    for name in path.split("."):
        for i in range(found, len(lines)):
            indent = len(lines[i]) - len(lines[i].lstrip())
            if depth >= 0 and i > found and lines[i].strip() and indent <= depth:
                return found + 1
            if re.search(rf"(?:^|[\s{{]){re.escape(name)}\s*:", lines[i]):
                found, depth = i, indent
                break
        else:
            return found + 1
    return found + 1
