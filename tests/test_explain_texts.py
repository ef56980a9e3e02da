"""Error texts: each is found with its values, in whatever stands around it; and what no table knows is told."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vusniff.checks.outcome import Outcome
from vusniff.cli import RULES_MAY_RAISE, main
from vusniff.errors import VusniffError
from vusniff.families.vhost_user.protocol import FrontendRequest
from vusniff.views import asked, bits, glossary, page, texts
from vusniff.views.texts import TextPattern, pages, requests

VALUES = {
    "n": "17",
    "x": "1f40",
    "w": "/run/vhost0",
    "s": "No such thing (2)",
    "request": "5",
    "back": "1",
    "errno": "22",
    "features": "140003446",
    "call": "vring_num",
    "name": "VHOST_USER_SET_MEM_TABLE",
}
NO_ANSWER = "Failed to read msg header. Read 0 instead of 12. Original request {}."


def filled(text: str) -> str:
    return re.sub(r"\{(?:\w+:)?(\w+)\}", lambda field: VALUES[field[1]], text)


def told(text: str) -> str:
    return "\n".join(page.text(topic.page) for topic in pages.topics(text))


@pytest.mark.parametrize("known", texts.texts(), ids=lambda known: known.text[:50])
def test_every_text_is_found(known: TextPattern) -> None:
    text = filled(known.text)
    prefix = "2026-01-02T03:04:05.678Z host prog[12]: "
    for given_ in (text, text.upper() if "{" not in known.text else text, f"{prefix}{text}\nand so on", f"{text}\\n"):
        found = texts.find(given_)
        assert known.row in [one.row for one in found], given_
        for one in found:
            for sentence in (one.row.happened, *one.row.causes):
                assert "{" not in texts.said(one, sentence, pages.spoken)
    assert told(text)


def test_there_are_many() -> None:
    assert len(texts.texts()) > 500
    rows = {known.row for known in texts.texts()}
    assert all(row.happened.endswith(".") and row.by for row in rows)
    assert all(cause.endswith((".", ")")) for row in rows for cause in row.causes)
    assert len({known.text.lower() for known in texts.texts()}) == len(texts.texts())


@pytest.mark.parametrize("number", requests.UNANSWERED)
def test_a_request_without_an_answer_has_its_name_and_its_causes(number: int) -> None:
    said = " ".join(told(NO_ANSWER.format(number)).split())
    assert f"answer to {FrontendRequest(number).name}." in said
    assert all(cause in said for cause in requests.UNANSWERED[number])


def test_a_request_that_is_not_known_is_called_by_its_number() -> None:
    assert "answer to request 99." in told(NO_ANSWER.format(99))


def test_several_lines_are_told_in_their_order() -> None:
    log = """
        2026-01-01 qemu-system-x86_64: Failed to set msg fds.
        2026-01-01 qemu-system-x86_64: vhost VQ 1 ring restore failed: -22: Invalid argument (22)
        something else
        2026-01-01 qemu-system-x86_64: Failed to set msg fds.
        2026-01-01 qemu-system-x86_64: vhost VQ 0 ring restore failed: -22: Invalid argument (22)
    """
    assert [topic.page.title.split(":")[0] for topic in pages.topics(log)] == [
        "Failed to set msg fds.",
        "vhost VQ 1 ring restore failed",
        "vhost VQ 0 ring restore failed",
    ]


def test_a_text_that_a_terminal_has_broken_is_found() -> None:
    assert texts.find("Failed to read msg header. Read 0 instead\n   of 12. Original\n request 1.")


def test_the_most_exact_text_is_told_alone() -> None:
    (found,) = texts.find("vhost_set_mem_table failed: Invalid argument (22)")
    assert "SET_MEM_TABLE or ADD_MEM_REG" in found.row.happened
    assert found.values == {"errno": "22"}
    assert "could not send ADD_MEM_REG" in told("qemu: vhost-user: VHOST_USER_ADD_MEM_REG failed")
    assert "could not send SET_VRING_CALL" in told("vhost_set_vring_call failed: Invalid argument (22)")


def test_what_a_text_quotes_is_told_too() -> None:
    found = texts.find("[2023-08-02T19:33:01Z ERROR virtiofsd] Waiting for daemon failed: HandleRequest(InvalidParam)")
    assert [one.text for one in found] == ["Waiting for daemon failed: {reason:s}", "HandleRequest(InvalidParam)"]


def test_a_refusal_says_the_value_and_the_limit() -> None:
    assert "regions; DPDK takes 8" in told("VHOST_CONFIG: (/x) too many memory regions (9)")
    assert "size is 300. DPDK takes powers of two up to 32768" in told("VHOST_CONFIG: invalid virtqueue size 300")
    said = told("virtqueue 2 is too big. (size = 2048, max = 1024)")
    assert "Ring 2 has size 2048; SPDK takes 1024" in said
    assert "said 1 in its answer" in told("The maximum number of queues supported by the backend is 1")
    assert "SET_MEM_TABLE came with 9 descriptors; DPDK takes 0" in " ".join(
        told("expect 0 FDs for request VHOST_USER_SET_MEM_TABLE, received 9").split()
    )


def test_unknown_text_names_near_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "Could not read msg header, read 0 of 12, original request"]) == 2
    said = capsys.readouterr().err
    assert "no known error text is in" in said
    assert "Failed to read msg header." in said
    assert said.count("\n") == 1
    assert main(["explain", "the quick brown fox jumps"]) == 2
    assert "give a whole line of QEMU" in capsys.readouterr().err


def test_words_are_looked_up_together_or_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert [topic.name for topic in asked.topics(["feature", "negotiation"])] == ["feature negotiation"]
    assert [topic.name for topic in asked.topics(["GET_FEATURES", "r48", "armed"])] == [
        "GET_FEATURES",
        "vring-kick-before-num",
        "armed",
    ]
    with pytest.raises(VusniffError, match="nothing is called 'zorb'"):
        asked.topics(["GET_FEATURES", "zorb"])
    assert main(["explain", *NO_ANSWER.format(1).split()]) == 0
    assert "GET_FEATURES" in capsys.readouterr().out


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "--json", NO_ANSWER.format(5)]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["kind"] == "error text"
    facts = made["sections"][0]["facts"]
    assert facts["request"] == "5, SET_MEM_TABLE"
    assert [section["title"] for section in made["sections"]] == [
        "What happened",
        "Usual causes, the most frequent first",
        "What to capture",
    ]


def test_standard_input() -> None:
    command = [sys.executable, "-m", "vusniff", "explain", "-"]
    done = subprocess.run(command, input=f"x: {NO_ANSWER.format(1)}\n".encode(), capture_output=True, check=True)
    assert b"GET_FEATURES" in done.stdout
    empty = subprocess.run(command, input=b"\n", capture_output=True, check=False)
    assert (empty.returncode, empty.stderr.count(b"\n")) == (2, 1)


def test_error_texts_need_no_message_tables_and_nobody_else_needs_them() -> None:
    script = "import sys; from vusniff.cli import RULES_MAY_RAISE, main; main(); print(*sys.modules, file=sys.stderr)"

    env = {name: value for name, value in os.environ.items() if name != RULES_MAY_RAISE}

    def imported(*words: str) -> set[str]:
        command = [sys.executable, "-c", script, *words]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
        return set(done.stderr.splitlines()[-1].split())

    assert not imported("explain", NO_ANSWER.format(1)) & {"construct", "vusniff.checks.table", "vusniff.layouts"}
    root = Path(__file__).parent.parent
    importers = {
        path.relative_to(root).as_posix()
        for path in (root / "vusniff").rglob("*.py")
        if "views.texts" in path.read_text() or "import texts" in path.read_text()
    }
    assert {path for path in importers if not path.startswith("vusniff/views/texts/")} == {"vusniff/views/asked.py"}


@given(st.text(max_size=400) | st.lists(st.sampled_from([known.text for known in texts.texts()])).map(" ".join))
def test_any_text_is_looked_at(text: str) -> None:
    for topic in pages.topics(text):
        assert page.text(topic.page)


@pytest.mark.parametrize("names", [names for names, _ in glossary.WORDS], ids=lambda names: names[0])
def test_every_word_is_explained(names: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    for name in names:
        assert names[0] in [topic.name for topic in glossary.topics(name) if topic.kind == "word"]
        assert main(["explain", name]) == 0
    assert capsys.readouterr().out


def test_every_outcome_of_a_verdict_is_explained() -> None:
    assert set(glossary.OUTCOMES) == {outcome.value for outcome in Outcome}
    assert set(glossary.SHORT) <= set(glossary.OUTCOMES)
    for name, word in glossary.SHORT.items():
        assert [(topic.kind, topic.name) for topic in glossary.topics(word)] == [("verdict", name)]
    for outcome in Outcome:
        assert ("verdict", outcome.value) in [(topic.kind, topic.name) for topic in asked.topics([outcome.value])]


def test_features_are_named_bit_by_bit(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "--features", "0x140003446", "--device", "blk", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert [name.split()[1] for name in made["sections"][0]["facts"]] == [
        "VIRTIO_BLK_F_SIZE_MAX",
        "VIRTIO_BLK_F_SEG_MAX",
        "VIRTIO_BLK_F_BLK_SIZE",
        "VIRTIO_BLK_F_TOPOLOGY",
        "VIRTIO_BLK_F_MQ",
        "VIRTIO_BLK_F_DISCARD",
        "VHOST_USER_F_PROTOCOL_FEATURES",
        "VIRTIO_F_VERSION_1",
    ]


def test_features_without_a_device_say_which_device_has_what() -> None:
    said = page.text(bits.features(1 << 15 | 1 << 48, None).page)
    assert "net MRG_RXBUF" in said
    assert "48 unknown" in said
    assert "VIRTIO_F_VERSION_1 (bit 32) is not set" in said


def test_protocol_features_are_named_bit_by_bit() -> None:
    said = page.text(bits.protocol_features(0x1EBF).page)
    for name in ("MQ", "LOG_SHMFD", "RARP", "REPLY_ACK", "MTU", "BACKEND_REQ", "CONFIG", "INFLIGHT_SHMFD"):
        assert f" {name} " in said
    assert "11 bits set" in said


def test_protocol_features_that_need_others_say_so() -> None:
    assert "INBAND_NOTIFICATIONS needs REPLY_ACK and BACKEND_REQ as well" in page.text(
        bits.protocol_features(1 << 14).page
    )
    assert "unknown" in page.text(bits.protocol_features(1 << 60).page)
    assert "None." in page.text(bits.protocol_features(0).page)


@pytest.mark.parametrize(
    "number", ["", "x", "0x", "-1", "0x1ffffffffffffffff", "1.5", "\x1b[31m", "99999999999999999999"]
)
def test_what_is_no_number_of_64_bits(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", f"--features={number}"]) == 2
    said = capsys.readouterr().err
    assert "64 bits" in said
    assert "\x1b" not in said


def test_nothing_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain"]) == 2
    assert "say what" in capsys.readouterr().err
