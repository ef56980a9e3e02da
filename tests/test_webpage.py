"""The exported page in a real browser: what it shows, and what a reader does with it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from browser import Browser, browsing, needs_browser
from talk import Talk, u32, u64

from vusniff.analysis.timeline import Timeline, read_all
from vusniff.capture.index import Index
from vusniff.cli import main
from vusniff.families.vhost_user.protocol import FrontendRequest
from vusniff.views import state
from vusniff.views.export import plots

CAPTURE = Path(__file__).parent.parent / "captures" / "qemu-testpmd.pcapng"
TROUBLE = Path(__file__).parents[1] / "captures" / "trouble" / "memory-not-shared.pcapng"

pytestmark = pytest.mark.xdist_group("browser")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browsing(tmp_path_factory.mktemp("browser")) as made:
        yield made


def export(capture: Path, folder: Path, *words: str) -> Path:
    page = folder / "page.html"
    assert main(["export", str(capture), "-o", str(page), *words]) == 0
    return page


def text(browser: Browser, selector: str) -> str:
    found: str = browser.evaluate(f"document.querySelector({json.dumps(selector)}).textContent")
    return found


def reached(browser: Browser, number: int) -> bool:
    """Whether a message is chosen, waiting for the browser to follow a link to it."""
    deadline = time.monotonic() + 20
    while text(browser, "#details h2") != f"Message {number}":
        if time.monotonic() > deadline:
            return False
    return True


def values_of(page: Path) -> dict[str, Any]:
    content = page.read_text(encoding="utf-8")
    start = content.index('id="capture">') + len('id="capture">')
    values: dict[str, Any] = json.loads(content[start : content.index("</script>", start)])
    return values


@needs_browser
def test_a_reader_goes_through_a_page(browser: Browser, tmp_path: Path) -> None:
    page = export(CAPTURE, tmp_path)
    browser.events.clear()
    browser.open(page.as_uri())
    timeline = Timeline(Index(CAPTURE))
    read_all(timeline)
    assert browser.evaluate("document.querySelectorAll('#rows tr[id]').length") == len(timeline)
    assert text(browser, "#details h2") == "Message 1"
    browser.key("j")
    assert text(browser, "#details h2") == "Message 2"
    assert browser.evaluate("location.hash") == "#m2"
    browser.key("k")
    assert text(browser, "#details h2") == "Message 1"
    browser.click("#row12")
    assert text(browser, "#details h2") == "Message 12"
    browser.key("G")
    assert text(browser, "#details h2") == f"Message {len(timeline)}"
    last = state.state_dict(timeline.state(len(timeline) - 1), timeline.place(len(timeline) - 1).context)
    shown = browser.evaluate("document.querySelectorAll('#state table')[0].rows.length") - 1
    assert shown == len(last["vrings"])
    browser.key("/")
    for letter in "set_mem_table":
        browser.key(letter)
    count = sum("SET_MEM_TABLE" in message.name for message in timeline.messages())
    assert browser.evaluate("document.querySelectorAll('#rows tr[id]:not([hidden])').length") == count > 0
    assert text(browser, "#count") == f"{count} of {len(timeline)} messages"
    browser.key("Escape")
    browser.key("g")
    assert text(browser, "#details h2") == "Message 1", "a message that the search hides is shown again"
    browser.click("#phases button:last-child")
    assert text(browser, "#details h2") != "Message 1"
    assert browser.troubles() == []


@needs_browser
def test_findings_are_one_key_away(browser: Browser, tmp_path: Path) -> None:
    page = export(CAPTURE, tmp_path)
    values = values_of(page)
    browser.open(page.as_uri())
    numbers = sorted({finding["number"] for finding in values["findings"]})
    assert numbers
    for number in numbers[:3]:
        browser.key("n")
        assert text(browser, "#details h2") == f"Message {number}"
        assert text(browser, "#details .finding")
    browser.click("#problems")
    assert browser.evaluate("document.querySelectorAll('#rows tr[id]:not([hidden])').length") == len(numbers)
    assert browser.troubles() == []


@needs_browser
def test_it_opens_where_the_verdict_points_and_tells_causes_first(browser: Browser, tmp_path: Path) -> None:
    page = export(TROUBLE, tmp_path)
    values = values_of(page)
    (found,) = values["verdicts"]
    browser.open(page.as_uri())
    assert text(browser, "#details h2") == f"Message {found['message']}"
    first = text(browser, "#findings button:first-child")
    assert f"#{found['message']}: " in first
    assert first in [one["words"] for one in values["ranked"]]
    assert {one["number"] for one in values["ranked"]} <= {one["number"] for one in values["findings"]}
    browser.key("G")
    assert "undefined" not in text(browser, "#state")
    assert browser.troubles() == []


@needs_browser
def test_it_follows_the_readers_colours_and_prints(browser: Browser, tmp_path: Path) -> None:
    page = export(CAPTURE, tmp_path)
    colours = []
    for scheme in ("light", "dark"):
        browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        browser.open(f"{page.as_uri()}#m{30}")
        assert text(browser, "#details h2") == "Message 30"
        colours.append(browser.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert colours[0] != colours[1]
    printed = browser.call("Page.printToPDF")["data"]
    assert printed.startswith("JVBERi")
    assert len(printed) > 10_000
    browser.call("Emulation.setEmulatedMedia", features=[])
    assert browser.troubles() == []


@needs_browser
def test_what_a_peer_says_is_text(browser: Browser, tmp_path: Path) -> None:
    talk = Talk(tmp_path / "hostile.pcapng")
    evil = "</script><script>document.title='broken'</script><img src=x onerror=alert(1)>"
    peers = talk.connect(f"/run/{evil}", comms=(evil, "<b>back</b>\u2028"))
    peers.ask(FrontendRequest.GET_FEATURES)
    peers.answer(FrontendRequest.GET_FEATURES, u64(0xFFFF_FFFF_FFFF_FFFF))
    peers.ask(FrontendRequest.SET_MEM_TABLE, u32(1, 0) + u64(0, 1 << 63, (1 << 64) - 1, 1 << 62))
    peers.raw(0, evil.encode())
    talk.writer.close()
    page = export(tmp_path / "hostile.pcapng", tmp_path)
    browser.events.clear()
    browser.open(f"{page.as_uri()}#m3")
    assert browser.evaluate("document.title") == "vhost-user: hostile.pcapng"
    assert browser.evaluate("document.querySelectorAll('img, b').length") == 0
    assert "0xffffffffffffffff" in text(browser, "#details")
    assert evil in text(browser, "#sessions")
    assert browser.troubles() == []


def test_states_of_the_page_are_those_of_the_timeline(tmp_path: Path) -> None:
    page = export(CAPTURE, tmp_path)
    timeline = Timeline(Index(CAPTURE))
    read_all(timeline)
    now: dict[int, dict[str, Any]] = {}
    for row, message in enumerate(values_of(page)["messages"]):
        told = now.setdefault(message["session"], {})
        for name, value in message.get("change", {}).items():
            told[name] = {**told.get("vrings", {}), **value} if name == "vrings" else value
        expected = state.state_dict(timeline.state(row), timeline.place(row).context)
        expected["vrings"] = {str(ring["index"]): ring for ring in expected["vrings"]}
        assert told == json.loads(json.dumps(expected)), row


def test_a_page_is_bounded_and_says_so(tmp_path: Path) -> None:
    talk = Talk(tmp_path / "long.pcapng")
    peers = talk.connect()
    for _ in range(50):
        peers.ask(FrontendRequest.SET_VRING_ENABLE, u32(0, 1))
    talk.writer.close()
    values = values_of(export(tmp_path / "long.pcapng", tmp_path, "--limit", "20"))
    assert (values["shown"], values["total"], len(values["messages"])) == (20, 50, 20)


@needs_browser
def test_rings_are_drawn_as_of_the_chosen_message(browser: Browser, tmp_path: Path) -> None:
    page = export(TROUBLE.with_name("backend-stopped.pcapng"), tmp_path)
    browser.open(page.as_uri())
    browser.key("G")
    assert browser.evaluate("document.querySelectorAll('#state svg.plot').length") == 2
    assert browser.evaluate("document.querySelectorAll('#state svg .stall').length") > 0
    assert "vring 1: not served for" in text(browser, "#state")
    browser.key("g")
    assert "not served" not in text(browser, "#state")
    browser.events.clear()


@needs_browser
def test_drawings_lead_to_messages(browser: Browser, tmp_path: Path) -> None:
    page = export(CAPTURE, tmp_path)
    browser.events.clear()
    browser.open(page.as_uri())
    assert browser.evaluate("document.querySelectorAll('#gantt .track a.armed').length") == 4  # two rings, twice
    assert "running" in text(browser, "#gantt .ribbon")
    browser.click("#gantt .track a.armed")
    number = browser.evaluate("Number(location.hash.slice(2))")
    timeline = Timeline(Index(CAPTURE))
    read_all(timeline)
    assert timeline.message(number - 1).name == "SET_VRING_KICK"
    assert reached(browser, number)
    assert "vring 0 armed, enabled" in text(browser, "#state .chips")
    assert browser.evaluate("document.querySelectorAll('#state .map .mark').length") == 3
    here = browser.evaluate("document.querySelector('#gantt .here').style.left")
    browser.click("#by-message")
    assert browser.evaluate("document.querySelector('#gantt .here').style.left") != here
    browser.click("#sequence summary")
    browser.click("#sequence a[href='#m10']")
    assert reached(browser, 10)
    assert text(browser, "#row1 td:last-child") == "3.33 ms"
    assert browser.troubles() == []


@needs_browser
def test_it_is_stacked_on_a_narrow_screen(browser: Browser, tmp_path: Path) -> None:
    browser.open(export(CAPTURE, tmp_path).as_uri())
    for width, stacked in ((360, True), (799, True), (1280, False)):
        browser.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        left = [
            browser.evaluate(f"document.querySelector('{name}').getBoundingClientRect().left")
            for name in ("nav", "#timeline", "aside")
        ]
        assert (len(set(left)) == 1) is stacked
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
    browser.call("Emulation.clearDeviceMetricsOverride")


def test_points_of_a_page_are_bounded_and_keep_the_worst() -> None:
    timeline = Timeline(Index(TROUBLE.with_name("backend-stopped.pcapng")))
    read_all(timeline)
    history = timeline.ring_history
    (standing, *_) = [one for one in history.standings(1) if one.position.ring == 1]
    many = [replace(standing, time_ns=standing.time_ns + at * 10**9) for at in range(5 * plots.POINTS)]
    worst = replace(standing.position, waiting_ns=7 * 10**9, moved_ns=7 * 10**9, in_flight=3)
    many[777] = replace(many[777], position=worst)
    kept = plots.points_of(many, standing.time_ns)
    assert len(kept) <= plots.POINTS
    assert [point[0:3] for point in kept if point[5]] == [[standing.number, 777.0, 3]]
