"""What came of a conformance test, as text, TAP, JUnit and JSON. Lines out; writes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from xml.sax.saxutils import quoteattr

from vusniff.conformance.expectations import is_as_expected
from vusniff.conformance.results import ScenarioResult, TestReport
from vusniff.conformance.scenario import Result
from vusniff.printable import escape

FORMS = ("text", "tap", "junit", "json")
_WIDTH = max(len(result.value) for result in Result) + 2
Expected = Mapping[str, Result]


def _deviation(one: ScenarioResult, expected: Expected) -> str:
    """What is said beside a result that a file of known deviations speaks of."""
    known = expected.get(one.id)
    if known is None:
        return ""
    return ", as expected" if known is one.result else f", expected {known}"


def text_lines(one: ScenarioResult, expected: Expected) -> Iterator[str]:
    """One scenario: a line, and what there is to say of one that did not pass."""
    yield f"{one.result.value:{_WIDTH}}{one.id}{_deviation(one, expected)}"
    if one.result is Result.NOT_APPLICABLE:
        return
    indent = " " * _WIDTH
    if one.why:
        yield f"{indent}{escape(one.why)}"
        yield f"{indent}{_cited(one)}"
    if one.shortest is not None:
        yield f"{indent}{one.shortest} of its messages are enough"
    for note in one.notes:
        yield f"{indent}note: {escape(note)}"


def _cited(one: ScenarioResult) -> str:
    """The section, and what it says."""
    return f"{one.section}: {one.says}" if one.says else f"{one.section}: the specification does not say"


def summary(report: TestReport, expected: Expected) -> Iterator[str]:
    """The last lines of the text."""
    counts = ", ".join(f"{report.count(result)} {result}" for result in Result)
    changed = [one.id for one in report.results if not is_as_expected(one.id, one.result, expected)]
    yield f"{len(report.results)} scenarios: {counts}"
    if expected:
        yield "not as expected: " + (", ".join(changed) if changed else "none")
    if report.captures:
        yield f"captures: {escape(report.captures)}"
    if report.stopped:
        yield f"not all was played: {escape(report.stopped)}"


def tap_lines(report: TestReport, expected: Expected) -> Iterator[str]:
    """Test Anything Protocol, version 13 (testanything.org): inconclusive is TODO, not applicable is SKIP."""
    yield "TAP version 13"
    yield f"1..{len(report.results)}"
    for number, one in enumerate(report.results, 1):
        fine = is_as_expected(one.id, one.result, expected)
        words = one.why.replace("#", "")
        directive = ""
        if one.result is Result.NOT_APPLICABLE:
            directive = f" # SKIP {words}"
        elif one.result is not Result.PASS and fine:
            directive = f" # TODO {words}"
        ok = "not ok" if one.result in (Result.FAIL, Result.INCONCLUSIVE) or not fine else "ok"
        yield escape(f"{ok} {number} - {one.id}{directive}")
        for line in _details(one):
            yield f"# {escape(line)}"
    if report.stopped:
        yield f"Bail out! {escape(report.stopped)}"


def _details(one: ScenarioResult) -> Iterator[str]:
    if one.result in (Result.FAIL, Result.INCONCLUSIVE):
        yield one.why
        yield _cited(one)
        if one.capture:
            yield f"capture: {one.capture}"
    yield from one.notes


def junit_lines(report: TestReport, expected: Expected) -> Iterator[str]:
    """JUnit's XML, as CI systems read it: not applicable and inconclusive are skipped."""
    bad = [one for one in report.results if not is_as_expected(one.id, one.result, expected)]
    skipped = [one for one in report.results if one not in bad and one.result is not Result.PASS]
    name = quoteattr(escape(f"vusniff test --to {report.role}"))
    seconds = sum(one.seconds for one in report.results)
    yield '<?xml version="1.0" encoding="UTF-8"?>'
    yield (
        f'<testsuite name={name} tests="{len(report.results)}" failures="{len(bad)}" skipped="{len(skipped)}" '
        f'time="{seconds:.3f}">'
    )
    for one in report.results:
        head = f'  <testcase classname={name} name={quoteattr(one.id)} time="{one.seconds:.3f}"'
        said = quoteattr(escape(f"{one.result}: {one.why}" if one.why else str(one.result)))
        if one in bad:
            inside = escape("; ".join(_details(one)))
            yield f"{head}><failure message={said}>{_content(inside)}</failure></testcase>"
        elif one in skipped:
            yield f"{head}><skipped message={said}/></testcase>"
        else:
            yield f"{head}/>"
    if report.stopped:
        yield f"  <system-err>{_content(escape(report.stopped))}</system-err>"
    yield "</testsuite>"


def _content(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def report_dict(report: TestReport, expected: Expected) -> dict[str, Any]:
    """The same for programs."""
    return {
        "to": report.role,
        "peer": report.about,
        "stopped": report.stopped or None,
        "captures": report.captures or None,
        "counts": {result.value: report.count(result) for result in Result},
        "scenarios": [_scenario_dict(one, expected) for one in report.results],
    }


def _scenario_dict(one: ScenarioResult, expected: Expected) -> dict[str, Any]:
    return {
        "id": one.id,
        "about": one.about,
        "section": one.section,
        "says": one.says or None,
        "result": one.result.value,
        "as_expected": is_as_expected(one.id, one.result, expected),
        "why": one.why or None,
        "notes": one.notes,
        "capture": one.capture,
        "shortest": one.shortest,
        "seconds": round(one.seconds, 3),
    }


def list_lines(rows: Sequence[tuple[str, str]]) -> Iterator[str]:
    """The ids, and what is done."""
    width = max((len(name) for name, _ in rows), default=0) + 2
    for name, about in rows:
        yield f"{name:{width}}{about}"
