"""The guard on a reply's bytes: one table of what comes out, and the bytes that stay as they came."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from typing import Any

import pytest

from highflame_middleware.codecs import load_codec
from highflame_middleware.codecs.sse import FRAMING
from highflame_middleware.drivers import aperform
from highflame_middleware.errors import BlockedError, GuardError
from highflame_middleware.exchange import Exchange
from highflame_middleware.flow import arun
from highflame_middleware.screens import EventScreen
from highflame_middleware.testing import FakeGuard
from highflame_middleware.types import Decision, Mode
from tests.chats import CHUNKINGS, DONE, JSON, chunk, reply, spoken, stream, without_text
from tests.exchanges import (
    Passed,
    chat_texts,
    cuts,
    decisions,
    decoded,
    exchange,
    screened,
    sse,
)
from tests.windows import WindowedGuard

# ------------------------------------------------------------------------------------------------- the table

SAID = "The SECRET is out."
FAULT = ValueError("the text was: SECRET")
# What the guard says of the reply: how, and what is done about it in enforce (closed, open) and modify.
VERDICTS: dict[str, tuple[dict[str, Any], tuple[str, str, str], str]] = {
    "allow": ({}, ("pass", "pass", "pass"), "allow"),
    "modify": ({"redact": ["SECRET"]}, ("edit", "edit", "edit"), "modify"),
    "deny": ({"deny": ["SECRET"]}, ("stop", "stop", "pass"), "deny"),
    "step_up": ({"step_up": ["SECRET"]}, ("stop", "stop", "pass"), "step_up"),
    "defer": ({"defer": ["SECRET"]}, ("stop", "stop", "pass"), "defer"),
    "fault": ({"fault": FAULT}, ("stop", "pass", "pass"), "error"),
}
COLUMNS = {("enforce", False): 0, ("enforce", True): 1, ("modify", False): 2, ("modify", True): 2}
ROWS = list(itertools.product(VERDICTS, Mode, (False, True)))


def expected_of(verdict: str, mode: Mode, fail_open: bool) -> str:
    column = COLUMNS.get((mode.value, fail_open))
    return "pass" if column is None else VERDICTS[verdict][1][column]


@pytest.mark.parametrize(("verdict", "mode", "fail_open"), ROWS)
@pytest.mark.parametrize("local", [True, False])
def test_a_reply_in_one_piece(verdict: str, mode: Mode, fail_open: bool, local: bool) -> None:
    given, _, decision = VERDICTS[verdict]
    outcome = expected_of(verdict, mode, fail_open)
    content = reply("Hello.", SAID)
    owner = exchange(FakeGuard(**given, local=local), mode=mode, fail_open=fail_open)
    out = screened(owner, cuts(content, [40]), JSON)
    if outcome == "pass":
        assert out.content == content
    elif outcome == "edit":
        body = json.loads(content)
        body["choices"][1]["message"]["content"] = "The [redacted] is out."
        assert json.loads(out.content) == body
    else:
        assert out.content == b""
    check_stop(out, verdict, outcome)
    others = "error" if verdict == "fault" else "allow"
    assert decisions(owner) == [
        ("response", others, others != "allow" and outcome != "pass"),
        ("response", decision, outcome != "pass"),
    ]


@pytest.mark.parametrize(("verdict", "mode", "fail_open"), ROWS)
@pytest.mark.parametrize("chunking", CHUNKINGS)
def test_a_reply_in_events(verdict: str, mode: Mode, fail_open: bool, chunking: str) -> None:
    given, _, decision = VERDICTS[verdict]
    outcome = expected_of(verdict, mode, fail_open)
    content = b"".join(stream(*spoken("The SEC", "RET is", " out."), chunk(finish="stop")))
    chunks = CHUNKINGS[chunking](content)
    owner = exchange(FakeGuard(**given), mode=mode, fail_open=fail_open)
    out = screened(owner, chunks)
    if outcome == "pass":
        assert out.content == content
    elif outcome == "edit":
        assert chat_texts(out.content) == {0: "The [redacted] is out."}
        assert without_text(out.content) == without_text(content)
        assert out.content.endswith(DONE)
    else:
        assert chat_texts(out.content) in ({}, {0: ""})
        assert b"stop" not in out.content, "not even that it is finished"
        assert out.content == content[: len(out.content)]
    if not mode.edits:
        assert out.pieces == [*chunks, b""], "whoever looks on holds nothing back"
    check_stop(out, verdict, outcome)
    assert decisions(owner) == [("response", decision, outcome != "pass")]


def check_stop(out: Passed, verdict: str, outcome: str) -> None:
    assert (out.stopped is not None) is (outcome == "stop")
    if outcome == "stop" and verdict == "fault":
        assert isinstance(out.stopped, GuardError)
        assert "SECRET" not in str(out.stopped)
    elif outcome == "stop":
        assert isinstance(out.stopped, BlockedError)
        assert (out.stopped.decision, out.stopped.stage.value) == (Decision(verdict), "response")


def test_asynchronous_readers_get_the_same() -> None:
    async def aread(owner: Exchange, chunks: list[bytes]) -> bytes:
        screen = EventScreen(owner, load_codec("openai-chat"), FRAMING)
        out = [await arun(screen.feed(part), aperform) for part in chunks]
        return b"".join([*out, await arun(screen.finish(), aperform)])

    chunks = cuts(b"".join(stream(*spoken("The SEC", "RET is", " out."))), [11])
    for local in (True, False):
        guard = FakeGuard(redact=["SECRET"], local=local)
        assert asyncio.run(aread(exchange(guard), chunks)) == screened(exchange(guard), chunks).content


def test_of_several_texts_the_worst_verdict_counts() -> None:
    guard = FakeGuard(deny=["bomb"], defer=["later"])
    out = screened(exchange(guard), [reply("later", "bomb")], JSON)
    assert isinstance(out.stopped, BlockedError)
    assert out.stopped.decision is Decision.DENY


# ------------------------------------------------------------------------------------------------- bytes that stay

UNTOUCHED: dict[str, list[bytes]] = {
    "LF": stream(*spoken("a", "b"), chunk(finish="stop")),
    "CRLF": [event.replace(b"\n", b"\r\n") for event in stream(*spoken("a", "b"))],
    "CR": [event.replace(b"\n", b"\r") for event in stream(*spoken("a", "b"))],
    "comments, names, ids": [b": hi\n\n", b"event: x\nid: 7\nretry: 5\n" + sse(chunk("a"))[0], b": ping\n\n", DONE],
    "a byte order mark": [b"\xef\xbb\xbf", *stream(*spoken("a"))],
    "odd spacing": [b'data:   {"choices" : [ {"delta":{"content":"a"} } ] }\n\n', DONE],
    "escapes": [b'data: {"choices":[{"index":0,"delta":{"content":"\\u00e9\\ud83d\\ude00\\/"}}]}\n\n', DONE],
    "a lone surrogate": [b'data: {"choices":[{"index":0,"delta":{"content":"\\ud83d"}}]}\n\n', DONE],
    "numbers as they are written": [
        b'data: {"choices":[{"index":0,"delta":{"content":"a"}}],"n":1.50e1}\n\n',
        DONE,
    ],
    "lines of data": [b'data: {"choices":\ndata: [{"index":0,"delta":{"content":"a"}}]}\n\n', DONE],
    "no end": stream(*spoken("a"), done=False),
    "cut in the middle": [*stream(*spoken("a"), done=False), b'data: {"choices":[{"index":0,"del'],
    "cut in a field's name": [*stream(*spoken("a"), done=False), b"dat"],
    "cut before the empty line": [*stream(*spoken("a"), done=False), sse(chunk("b"))[0][:-1]],
    "after the end": [*stream(*spoken("a")), *sse(chunk("b"))],
    "bare text": [b"data: hello\n\n", b'data: "quoted"\n\n', DONE],
    "bare text of several lines": [b"data: hello\ndata: there\n\n", DONE],
    "other JSON": [*sse({"error": {"message": "slow down"}}), *sse(["a", 1], 5, None), DONE],
    "nothing but the end": [DONE],
    "empty": [],
    "empty lines": [b"\n\n\r\n\r\n", *stream(*spoken("a"))],
    "usage": stream(*spoken("a"), {"id": "c-1", "choices": [], "usage": {"prompt_tokens": 3}}),
}


@pytest.mark.parametrize("setting", ["buffer", "sentence", "passthrough", "window"])
@pytest.mark.parametrize("name", UNTOUCHED)
def test_what_is_allowed_comes_out_byte_for_byte(name: str, setting: str) -> None:
    events = UNTOUCHED[name]
    content = b"".join(events)
    rolled = random.Random(name)
    ways = [events, [content], cuts(content, [1])]
    ways += [cuts(content, [rolled.choice((1, 2, 5, 30, 200)) for _ in range(20)]) for _ in range(5)]
    for chunks in ways:
        guard = WindowedGuard(redact=["SECRET"]) if setting == "window" else FakeGuard(redact=["SECRET"])
        owner = exchange(guard, stream="buffer" if setting == "window" else setting)
        out = screened(owner, chunks)
        assert (out.content, out.error) == (content, None)


def test_an_edit_leaves_every_other_event_as_it_came() -> None:
    events = [
        b': hi\r\ndata: {"choices": [{"index": 0, "delta": {"content": "a "}}], "n": 1.50}\r\n\r\n',
        b'id: 7\rdata: {"choices": [{"index": 0, "delta": {"content": "SECRET"}}], "n": 1.50}\r\r',
        b'data: {"choices": [{"index": 0, "delta": {"content": " b"}}], "n": 1.50}\n\n',
        DONE,
    ]
    out = screened(exchange(WindowedGuard(redact=["SECRET"])), events)
    edited = b'id: 7\rdata: {"choices":[{"index":0,"delta":{"content":"[redacted]"}}],"n":1.5}\r\r'
    assert out.content == b"".join([events[0], edited, events[2], events[3]])


def test_a_guard_without_a_window_gives_a_new_text_which_stands_in_its_first_piece() -> None:
    out = screened(exchange(FakeGuard(redact=["SECRET"])), stream(*spoken("a ", "SECRET", " b")))
    pieces = [data["choices"][0]["delta"]["content"] for data in decoded(out.content)]
    assert pieces == ["", "a [redacted] b", "", ""]
