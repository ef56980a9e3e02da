"""Findings as documents that CI systems read: SARIF 2.1.0 (OASIS) and JUnit XML.

SARIF's levels are error, warning and note, as ours. JUnit has one test case for each rule of each session: it fails
when a finding is as bad as asked for, and is skipped when the session was not seen as a whole and the rule needs that.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from vusniff.checks.finding import Finding, Rule, Severity
from vusniff.distributions import version
from vusniff.printable import escape_json, escape_lines
from vusniff.views.findings import CAPTURE_CUT, NOT_JUDGED, Judged, closing_lines, finding_lines, title
from vusniff.views.verdict import verdict_dict

SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
SPECIFICATION = "https://www.qemu.org/docs/master/interop/vhost-user.html"
GPU_SPECIFICATION = "https://www.qemu.org/docs/master/interop/vhost-user-gpu.html"


def sarif(judged: Judged, files: Sequence[str]) -> str:
    """All findings as one SARIF log with one run."""
    positions = {rule.slug: position for position, rule in enumerate(judged.rules)}
    run = {
        "tool": {
            "driver": {
                "name": "vusniff",
                "version": version(),
                "rules": [_sarif_rule(rule) for rule in judged.rules],
            }
        },
        "artifacts": [{"location": {"uri": _uri(name)}, "roles": ["analysisTarget"]} for name in files],
        "invocations": [
            {
                "executionSuccessful": not judged.cuts,
                "toolExecutionNotifications": [
                    *(
                        {"level": "error", "message": {"text": note + NOT_JUDGED}, "descriptor": {"id": CAPTURE_CUT}}
                        for note in judged.cuts
                    ),
                    *({"level": "note", "message": {"text": line}} for line in closing_lines(judged)),
                ],
            }
        ],
        "results": [_sarif_result(judged, finding, positions, files) for finding in judged.checker.findings],
        "columnKind": "unicodeCodePoints",
        "properties": {"verdicts": [verdict_dict(one) for one in judged.verdicts()]},
    }
    return escape_json(json.dumps({"$schema": SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1)) + "\n"


def _uri(name: str) -> str:
    return Path(name).absolute().as_uri() if name.startswith("/") else quote(name)


def _sarif_rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.slug,
        "shortDescription": {"text": rule.words},
        "helpUri": GPU_SPECIFICATION if rule.section == "vhost-user-gpu" else SPECIFICATION,
        "defaultConfiguration": {"level": rule.severity.value},
        "properties": {"number": rule.id, "level": rule.level.value, "side": rule.side.value, "section": rule.section},
    }


def _logical(judged: Judged, finding: Finding, number: int) -> dict[str, Any]:
    name = f"session {finding.session}/message {number}"
    return {"name": f"message {number}", "fullyQualifiedName": name, "kind": "message"}


def _sarif_result(judged: Judged, finding: Finding, positions: dict[str, int], files: Sequence[str]) -> dict[str, Any]:
    others = [number for number in finding.evidence if number != finding.number]
    by = judged.explained(finding)
    artifact = {"artifactLocation": {"uri": _uri(files[0])}} if len(files) == 1 else None
    location: dict[str, Any] = {"logicalLocations": [_logical(judged, finding, finding.number)]}
    if artifact:
        location["physicalLocation"] = artifact
    return {
        "ruleId": finding.rule,
        "ruleIndex": positions[finding.rule],
        "level": finding.severity.value,
        "message": {"text": finding.sentence},
        "locations": [location],
        "relatedLocations": [
            {"id": number, "logicalLocations": [_logical(judged, finding, number)]} for number in others
        ],
        "properties": {
            "side": finding.side.value,
            "session": finding.session,
            "path": judged.session(finding).path,
            "time_ns": judged.time_ns(finding),
            **({"explained_by": f"{by.rule} at message {by.number}"} if by else {}),
        },
    }


def junit(judged: Judged, fail_on: str) -> str:
    """One test suite for each session, one test case for each rule that is asked."""
    worst = [severity.value for severity in Severity].index(fail_on) if fail_on != "never" else -1
    found: dict[tuple[int, str], list[Finding]] = defaultdict(list)
    for finding in judged.checker.findings:
        found[finding.session, finding.rule].append(finding)
    root = Element("testsuites", name="vusniff check")
    totals = [0, 0, 0]
    verdicts = {number: one for one in judged.verdicts() for number in one.sessions}
    for session in judged.tracker.sessions:
        suite = SubElement(root, "testsuite", name=_legal(title(judged, session)))
        if session.number in verdicts:
            properties = SubElement(suite, "properties")
            SubElement(properties, "property", name="verdict", value=_legal(verdicts[session.number].sentence))
        counts = [0, 0, 0]
        for rule in judged.rules:
            if rule.function is None:
                continue
            findings = found.get((session.number, rule.slug), [])
            counts[0] += 1
            outcome = _case(suite, judged, session.number, rule, findings, worst)
            if outcome:
                counts[outcome] += 1
        for name, count in zip(("tests", "failures", "skipped"), counts, strict=True):
            suite.set(name, str(count))
        suite.set("errors", "0")
        totals = [total + count for total, count in zip(totals, counts, strict=True)]
    for one in judged.verdicts():
        if not one.sessions:  # nobody said anything there
            none = dict.fromkeys(("tests", "failures", "skipped", "errors"), "0")
            suite = SubElement(root, "testsuite", {"name": _legal(one.path), **none})
            properties = SubElement(suite, "properties")
            SubElement(properties, "property", name="verdict", value=_legal(one.sentence))
    if judged.cuts:
        # Only where it fails: a capture that is whole has the suites of its sessions and no more.
        suite = SubElement(root, "testsuite", name="capture", tests="1", failures="1", skipped="0", errors="0")
        case = SubElement(suite, "testcase", classname="vusniff.capture", name=CAPTURE_CUT)
        words = _legal("; ".join(judged.cuts) + NOT_JUDGED)
        SubElement(case, "failure", type=Severity.ERROR.value, message=words).text = words
        totals = [totals[0] + 1, totals[1] + 1, totals[2]]
    for name, count in zip(("tests", "failures", "skipped"), totals, strict=True):
        root.set(name, str(count))
    root.set("errors", "0")
    indent(root)
    return tostring(root, encoding="unicode", xml_declaration=True) + "\n"


CLASS = "vusniff.rules"
"""Class of every test case of a rule: the same in each run, whatever the number of a session; its suite names it."""


def _case(suite: Element, judged: Judged, session: int, rule: Rule, findings: Sequence[Finding], worst: int) -> int:
    """Add one test case; 0 for passed, 1 for failed, 2 for skipped."""
    case = SubElement(suite, "testcase", classname=CLASS, name=rule.slug)
    bad = [finding for finding in findings if finding.severity.rank <= worst]
    if bad:
        first = min(bad, key=lambda finding: (finding.severity.rank, finding.number))
        failure = SubElement(case, "failure", type=first.severity.value, message=_legal(first.sentence))
        failure.text = _text(judged, bad)
        return 1
    if findings:
        SubElement(case, "system-out").text = _text(judged, findings)
        return 0
    if rule.complete_only and session in judged.checker.partial:
        SubElement(case, "skipped", message=_legal(f"not all can be judged: {judged.checker.partial[session]}"))
        return 2
    return 0


def _text(judged: Judged, findings: Sequence[Finding]) -> str:
    return _legal("\n".join(line for finding in findings for line in finding_lines(judged, finding)))


def _legal(text: str) -> str:
    """Text that XML 1.0 can hold, and that shows all of itself."""
    return escape_lines(text)
