"""The critique of many networks as a linter does it: with the settings of each, and what of it is accepted or known."""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cnnatomy.analysis import Account, account
from cnnatomy.critique import RULES, Finding, Purpose, Rule, critique, flat
from cnnatomy.critique.settings import Settings
from cnnatomy.critique.suppression import Suppression, suppressed
from cnnatomy.errors import UserError, counted
from cnnatomy.files import read_text
from cnnatomy.layers.layer import Shape
from cnnatomy.limits import MAX_DESIGN_BYTES
from cnnatomy.readers import file_of, in_catalogue, is_run, read_graph
from cnnatomy.readers.folders import networks_of
from cnnatomy.readers.yaml import lines, listed
from cnnatomy.report import baseline, sarif, sarif_fixes, workflow
from cnnatomy.report import findings as shown
from cnnatomy.report.settings import of_project, settings_of
from cnnatomy.report.tables import Column, render

STATISTICS = ("table", "json", "markdown")
"""Formats of `counts`."""


class Criticised(NamedTuple):
    """The critique of one network.

    Attributes:
        name: as it was named, or where it lies.
        account: what it costs.
        purpose: what it is for.
        rules: those that were asked.
        findings: what is said of it.
        accepted: what is not, each with the suppression that says why.
        idle: suppressions that suppress nothing in it.
        known: how many findings are not said because the baseline has them.
        gone: how many the baseline has that are not found any more.
    """

    name: str
    account: Account
    purpose: Purpose
    rules: list[Rule]
    findings: list[Finding]
    accepted: list[tuple[Finding, Suppression]]
    idle: list[Suppression]
    known: int = 0
    gone: int = 0


class Linted(NamedTuple):
    """The critique of all networks.

    Attributes:
        text: what it says.
        remarks: what is said beside it.
        errors: which networks cannot be read, and why.
        findings: those of all networks.
    """

    text: str
    remarks: list[str]
    errors: list[str]
    findings: list[Finding]


def lint(
    names: Sequence[str],
    typed: Settings,
    *,
    input: Shape | None = None,
    format: str = "table",
    statistics: bool = False,
    designs_only: bool = False,
    write_baseline: Path | None = None,
) -> Linted:
    """The critique of networks, files and folders; `typed` are the settings of the command line.

    What cannot be read is told among the errors, and the others are criticised all the same; where there is but one
    network, it is raised, unless the format has a place for it.

    Raises:
        UserError: if there is no network, or the baseline cannot be written.
    """
    if statistics and write_baseline is not None:
        raise UserError("--write-baseline says how many findings it keeps: leave out --statistics")
    if statistics and format not in STATISTICS:
        raise UserError(f"--statistics has the formats {', '.join(STATISTICS)}, not {format}")
    networks, passed, several = networks_of(names, designs_only)
    remarks = [f"{counted(passed, 'YAML file')} passed over: no design"] if passed else []
    if write_baseline is not None:
        baseline.check_place(write_baseline)
    read = functools.cache(baseline.read)
    project = functools.cache(of_project)
    done: list[Criticised] = []
    errors: dict[str, Path | None] = {}  # each message once, with the file that it is about
    for name in networks:
        try:
            settings = typed.over(settings_of(name, project))
            one = criticise(name, settings, input)
            if write_baseline is None and settings.baseline is not None:
                one = compared(one, settings.baseline, read)
            done.append(one)
        except UserError as error:
            if not several and (format != "github" or write_baseline is not None):
                raise
            errors[str(error)] = file_of(name)
    remarks += _remarks(done)
    found = [finding for one in done for finding in one.findings]
    if write_baseline is not None:
        return Linted(_written(write_baseline, done, bool(errors)), remarks, list(errors), [])
    said = counts(done, format) if statistics else text(done, format, several)
    if format == "github":
        failures = [workflow.failure(message, file) for message, file in errors.items()]
        said = "\n".join([*([said] if said else []), *failures])
    return Linted(said, remarks, list(errors), found)


def criticise(name: str, settings: Settings, input: Shape | None = None) -> Criticised:
    """The critique of whatever a command line names, with what is accepted left out.

    Networks of the catalogue are made for so many classes; others have those that they have, and the rules are told.

    Raises:
        UserError: if there is no such network, rule or device.
    """
    design = account(*read_graph(name, settings.classes if in_catalogue(name) else None, input))
    return criticised(name, design, settings, trained=is_run(name))


def criticised(name: str, design: Account, settings: Settings, trained: bool = False) -> Criticised:
    """The critique of a network that is counted already, with what is accepted left out; `name` is where it lies.

    Raises:
        UserError: if there is no such rule or device.
    """
    rules, purpose = settings.rules(), settings.purpose(trained)
    left, accepted, idle = suppressed(critique(design, purpose, rules, settings.loud()), settings.suppress)
    asked = {rule.code for rule in rules}
    idle = [one for one in idle if asked.intersection(one.codes)]
    if idle:  # it may be about what is said with `--pedantic` only
        idle = suppressed(critique(design, purpose, rules, rules), idle).idle
    return Criticised(name, design, purpose, rules, left, accepted, idle)


def compared(
    one: Criticised, path: Path, read: Callable[[Path], dict[str, list[baseline.KnownFinding]]] = baseline.read
) -> Criticised:
    """The same without what the baseline at `path` has; `read` may be one that remembers.

    Raises:
        UserError: if it cannot be read.
    """
    there = read(path).get(baseline.network_key(one.name, path), [])
    new, hidden, gone = baseline.compared(one.findings, there, [rule.code for rule in one.rules])
    return one._replace(findings=new, known=hidden, gone=gone)


def _written(path: Path, done: Sequence[Criticised], failed: bool) -> str:
    """Writes the baseline, and says so; nothing is written where a network could not be criticised."""
    if failed:
        return f"{path} is not written: not every network could be criticised"
    number = baseline.write(path, [(one.name, one.findings) for one in done])
    return f"wrote {path}: {counted(number, 'finding')} of {counted(len(done), 'network')}"


def _remarks(done: Sequence[Criticised]) -> list[str]:
    """Suppressions that suppress nothing in any of the networks, and that baselines have what is gone."""
    used = {suppression for one in done for _, suppression in one.accepted}
    idle = [s for s in dict.fromkeys(s for one in done for s in one.idle) if s not in used]
    said = [f"note: {s.source}: the suppression of {s.rule} at {s.where} suppresses nothing here" for s in idle]
    gone = sum(one.gone for one in done)
    if gone:
        said.append(f"note: {counted(gone, 'finding')} of the baseline not found any more: --write-baseline renews it")
    return said


def text(done: Sequence[Criticised], format: str, several: bool = False) -> str:
    """The critiques in a format: one after the other, a list, or one log."""
    if format == "json":
        records = [record(one) for one in done]
        return json.dumps(records if several else records[0], indent=2)
    if format == "sarif":
        return _log(done)
    if format == "github":
        told = [one for one in done if one.findings]
        return "\n".join(workflow.commands(one.findings, one.account.name, _lines(one)) for one in told)
    blocks = [shown.report(one.account, one.findings, format) + _unsaid([one]) for one in done]
    if len(done) > 1:
        findings = [finding for one in done for finding in one.findings]
        blocks.append(f"{counted(len(done), 'network')}: {shown.summary(findings)}{_unsaid(done)}")
    return "\n\n".join(blocks)


def _unsaid(done: Sequence[Criticised]) -> str:
    """How much is not said, and why."""
    counts = {"suppressed": sum(len(one.accepted) for one in done), "in the baseline": sum(one.known for one in done)}
    return "".join(f"; {number:,} {what}" for what, number in counts.items() if number)


def record(one: Criticised) -> dict[str, Any]:
    """The critique of one network as plain data."""
    accepted = [
        {
            "code": finding.rule.code,
            "rule": finding.rule.name,
            "severity": finding.severity,
            "where": list(finding.where),
            "text": finding.text,
            "reason": suppression.reason,
            "file": suppression.source,
        }
        for finding, suppression in one.accepted
    ]
    return shown.record(one.account, one.purpose, one.findings) | {"suppressed": accepted, "known": one.known}


def _lines(one: Criticised) -> lines.Lines | None:
    """Where its layers are written, if it is a design."""
    return lines.of_network(one.name, one.account.input)


def _log(done: Sequence[Criticised]) -> str:
    """One log of SARIF; of a run either all results say whether they are suppressed, or none (section 3.27.23)."""
    rules = [rule for rule in RULES if any(rule in one.rules for one in done)]
    some = any(one.accepted for one in done)
    results: list[dict[str, Any]] = []
    for one in done:
        where = _lines(one)
        said = sarif.results(one.findings, rules, one.account, where)
        if where is not None:
            said = _with_fixes(one, where.file, said)
        results += [result | {"suppressions": []} for result in said] if some else said
        kept = sarif.results([finding for finding, _ in one.accepted], rules, one.account, where)
        for result, (_, suppression) in zip(kept, one.accepted, strict=True):
            kind = "inSource" if suppression.in_design else "external"
            results.append(result | {"suppressions": [{"kind": kind, "justification": suppression.reason}]})
    return sarif.log(rules, results)


def _with_fixes(one: Criticised, file: Path, results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The results with what would have to be written into the file of the design, if it is as the file says it."""
    text, uri = read_text(file, MAX_DESIGN_BYTES, "the design"), sarif.uri_of(file)
    design = listed.read(text, str(file))
    if design.input != one.account.input:
        return list(results)
    for finding, result in zip(one.findings, results, strict=True):
        fixes = sarif_fixes.proposals(finding, design, one.account.graph, text, uri)
        if fixes:
            result["fixes"] = fixes
    return list(results)


def counts(done: Sequence[Criticised], format: str) -> str:
    """How often each rule objects, over all networks, those that do most first; consequences count by themselves."""
    times: Counter[tuple[str, str]] = Counter()
    networks: Counter[tuple[str, str]] = Counter()
    for one in done:
        found = [(finding.rule.code, finding.severity) for finding in flat(one.findings)]
        times.update(found)
        networks.update(set(found))
    names = {rule.code: rule.name for rule in RULES}
    records = [
        {
            "findings": number,
            "severity": severity,
            "code": code,
            "rule": names[code],
            "networks": networks[code, severity],
        }
        for (code, severity), number in sorted(times.items(), key=lambda item: (-item[1], item[0]))
    ]
    if not records and format != "json":
        return shown.NOTHING
    numbers = [Column(key, key, number=True) for key in ("findings", "networks")]
    columns = [*numbers, *[Column(key, key) for key in ("severity", "code", "rule")]]
    return render(columns, records, format).rstrip()
