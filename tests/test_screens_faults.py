"""What cannot be read, what is too much, and what goes on record."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from highflame_middleware import GuardResponse, screens
from highflame_middleware.codecs import load_codec
from highflame_middleware.codecs.sse import FRAMING
from highflame_middleware.drivers import perform
from highflame_middleware.errors import BlockedError, UnreadableError
from highflame_middleware.flow import run
from highflame_middleware.screens import EventScreen, JsonScreen, screen_for
from highflame_middleware.testing import FakeGuard
from highflame_middleware.types import Decision
from tests.chats import (
    DONE,
    EVENTS,
    JSON,
    called,
    chunk,
    reply,
    spoken,
    stream,
)
from tests.exchanges import (
    Record,
    chat_texts,
    cuts,
    decisions,
    decoded,
    events_of,
    exchange,
    passed,
    screened,
    sse,
)
from tests.windows import WindowedGuard

# ------------------------------------------------------------------------------------------ what cannot be read

HTML = b"<html><body>Bad gateway</body></html>"
BODIES: dict[str, bytes] = {
    "HTML": HTML,
    "truncated": reply("Hello")[:-20],
    "not UTF-8": b'{"choices": "\xff"}',
    "two bodies": b"{}{}",
    "too deep": b"[" * 100_000,
    "a number too long": b"1" * 10_000,
    "bytes": bytes(range(256)),
}
READINGS = [
    ("enforce", False, "UnreadableError"),
    ("enforce", True, None),
    ("modify", False, None),
    ("monitor", False, None),
]


@pytest.mark.parametrize(("mode", "fail_open", "error"), READINGS)
@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_cannot_be_read(name: str, mode: str, fail_open: bool, error: str | None) -> None:
    owner = exchange(FakeGuard(), mode=mode, fail_open=fail_open)
    out = screened(owner, cuts(BODIES[name], [100]), JSON)
    assert (out.error, out.content) == (error, b"" if error else BODIES[name])
    assert decisions(owner) == [("response", "error", error is not None)], "on record in any case"
    if error:
        assert "is not JSON, though it says so: it could not be guarded" in str(out.stopped)


@pytest.mark.parametrize("content", [b"", b"null", b"{}", b'{"choices": []}', b'{"choices": null}'])
def test_a_body_with_nothing_in_it_passes(content: bytes) -> None:
    owner = exchange(FakeGuard(deny=[""]))
    out = screened(owner, [content], JSON)
    assert (out.content, out.error) == (content, None)


@pytest.mark.parametrize(
    "content",
    [b'"The SECRET"', b'["The SECRET"]', b'{"answer": "The SECRET"}', b'\xef\xbb\xbf{"answer": "The SECRET"}'],
)
def test_a_body_in_another_shape_is_guarded_all_the_same(content: bytes) -> None:
    out = screened(exchange(FakeGuard(deny=["SECRET"])), [content], JSON)
    assert isinstance(out.stopped, BlockedError)
    edited = screened(exchange(FakeGuard(redact=["SECRET"])), [content], JSON)
    assert b"The [redacted]" in edited.content
    assert b"SECRET" not in edited.content


def test_an_edit_of_what_is_nested_too_deeply_is_not_lost() -> None:
    """Some interpreters read deeper than they write: such a reply cannot be edited, and must not pass unedited."""
    depth = 900
    while depth > 10:
        content = (
            b'{"choices": [{"message": {"content": "SECRET", "x": ' + b"[" * depth + b"1" + b"]" * depth + b"}}]}"
        )
        out = screened(exchange(FakeGuard(redact=["SECRET"])), [content], JSON)
        assert b"SECRET" not in out.content
        if out.stopped is None:
            break
        assert isinstance(out.stopped, UnreadableError)
        depth -= 1
    assert depth > 500


STREAMS: dict[str, list[bytes]] = {
    "not UTF-8": [*stream(*spoken("a"), done=False), b"data: \xff\xfe\n\n", DONE],
    "a name that is not UTF-8": [b'event: \xff\ndata: {"choices": []}\n\n', DONE],
    "bytes that say they are events": [bytes(range(256))],
}


@pytest.mark.parametrize(("mode", "fail_open", "error"), READINGS)
@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_that_cannot_be_read(name: str, mode: str, fail_open: bool, error: str | None) -> None:
    content = b"".join(STREAMS[name])
    for chunks in (STREAMS[name], [content], cuts(content, [1])):
        owner = exchange(FakeGuard(), mode=mode, fail_open=fail_open)
        out = screened(owner, chunks)
        assert out.error == error
        if error is None:
            assert out.content == content
        else:
            assert content.startswith(out.content)
            assert b"\xff" not in out.content
        assert ("response", "error", error is not None) in decisions(owner)
        assert [found for _, found, _ in decisions(owner)].count("error") == 1


BARE: dict[str, bytes] = {
    "a word": b"data: SECRET",
    "a string": b'data: "SECRET"',
    "a list": b'data: ["SECRET"]',
    "broken JSON": b'data: {"choices": [{"delta": {"content": "SECRET"',
    "another API's event": b'data: {"type":"content_block_delta","delta":{"text":"SECRET"}}',
    "an error": b'data: {"error":{"message":"SECRET"}}',
    "lines": b"data: x\ndata: SECRET",
    "something after the end's mark": b"data: [DONE] SECRET",
    "JSON that says it is events": b'{"choices": [{"message": {"content": "SECRET"}}]}',
    "HTML that says it is events": b"<html>SECRET</html>",
    "lines of something else": b"error: SECRET\nnote: x",
}


@pytest.mark.parametrize("end", [b"\n\n", b"\n", b""])
@pytest.mark.parametrize("name", BARE)
def test_an_event_in_another_shape_is_guarded_all_the_same(name: str, end: bytes) -> None:
    content = [*stream(*spoken("a"), done=False), BARE[name] + end]
    denied = screened(exchange(FakeGuard(deny=["SECRET"])), content)
    assert isinstance(denied.stopped, BlockedError)
    assert b"SECRET" not in denied.content
    edited = screened(exchange(FakeGuard(redact=["SECRET"])), content)
    expected = b"".join(content).replace(b"SECRET", b"[redacted]")
    assert edited.content.rstrip(b"\n") == expected.rstrip(b"\n")


KINDS: dict[str, tuple[dict[str, Any], str]] = {
    "JSON": ({}, "JsonScreen"),
    "JSON with a charset": ({"content_type": "application/json; charset=utf-8"}, "JsonScreen"),
    "JSON in capitals": ({"content_type": "Application/JSON"}, "JsonScreen"),
    "a kind of JSON": ({"content_type": "application/problem+json"}, "JsonScreen"),
    "events": ({"content_type": "text/event-stream; charset=utf-8"}, "EventScreen"),
    "no kind": ({"content_type": None}, "JsonScreen"),
    "no kind, of a stream": ({"content_type": "", "stream": True}, "EventScreen"),
    "HTML": ({"content_type": "text/html"}, "_UnreadableScreen"),
    "HTML, failing open": ({"content_type": "text/html", "fail_open": True}, ""),
    "HTML, looked on at": ({"content_type": "text/html", "mode": "monitor"}, ""),
    "HTML, unguarded": ({"content_type": "text/html", "guard": None}, ""),
    "an error": ({"status": 500}, ""),
    "a redirect": ({"status": 307}, ""),
    "nothing": ({"status": 204}, ""),
    "created": ({"status": 201}, "JsonScreen"),
    "no codec": ({"codec": None}, ""),
    "no guard": ({"guard": None}, ""),
    "no guard, but on record": ({"guard": None, "recording": True}, "JsonScreen"),
}


@pytest.mark.parametrize("name", KINDS)
def test_which_screen_a_reply_gets(name: str) -> None:
    fields, expected = KINDS[name]
    given = {"status": 200, "content_type": JSON, "guard": FakeGuard(), "codec": "openai-chat", **fields}
    codec = load_codec(given["codec"]) if given["codec"] else None
    owner = exchange(
        given["guard"],
        mode=given.get("mode", "enforce"),
        fail_open=given.get("fail_open", False),
        recording=given.get("recording", False),
    )
    owner.call = replace(owner.call, stream=given.get("stream", False))
    screen = screen_for(owner, status=given["status"], content_type=given["content_type"], codec=codec)
    assert (type(screen).__name__ if screen else "") == expected
    assert len(events_of(owner)) == ("HTML" in name and "unguarded" not in name), "what is not read is on record"


def test_nothing_of_an_unreadable_kind_passes() -> None:
    out = screened(exchange(FakeGuard()), [HTML[:10], HTML[10:]], "text/html")
    assert (out.content, out.error) == (b"", "UnreadableError")
    assert "is text/html, where openai-chat answers in JSON or events" in str(out.stopped)


def test_what_begins_like_the_mark_of_the_end_ends_the_stream() -> None:
    """As it does to the clients, which read no further: what is held must leave with it."""
    screen = EventScreen(exchange(FakeGuard()), load_codec("openai-chat"), FRAMING)
    events = [*stream(*spoken("a", "b"), done=False), b"data: [DONE] and more\n\n"]
    assert b"".join(run(screen.feed(event), perform) for event in events) == b"".join(events)


def test_after_a_stop_nothing_more_comes_out() -> None:
    for kind, content in (
        (JSON, [reply("SECRET")]),
        (EVENTS, stream(*spoken("SECRET"), chunk(finish="stop"))),
        ("text/html", [HTML]),
    ):
        owner = exchange(FakeGuard(deny=["SECRET"]))
        screen = screen_for(owner, status=200, content_type=kind, codec=load_codec("openai-chat"))
        assert screen is not None
        passed(screen, content)
        stopped, record = screen.stopped, list(events_of(owner))
        assert stopped is not None
        for more in (b"more SECRET", b"data: more\n\n"):
            assert run(screen.feed(more), perform) == b""
        assert run(screen.finish(), perform) == b""
        assert (screen.stopped, events_of(owner)) == (stopped, record)


@pytest.mark.parametrize("codec", ["openai-chat", "openai-responses", "openai-completions"])
def test_a_refusal_is_in_the_replys_own_format(codec: str) -> None:
    owner = exchange(FakeGuard(), codec=codec)
    error = BlockedError(
        GuardResponse(decision=Decision.DENY, policy_reason="ünï \ud800"), stage=screens.Stage.RESPONSE
    )
    body = json.loads(JsonScreen(owner, load_codec(codec)).refusal(error))
    assert [text.value for text in load_codec(codec).read_reply(body).texts] == [str(error)]
    (data,) = decoded(EventScreen(owner, load_codec(codec), FRAMING).refusal(error))
    assert str(error) in json.dumps(data, ensure_ascii=False)


# ------------------------------------------------------------------------------------------------- too much


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> int:
    """What may be held, made small."""
    monkeypatch.setattr(screens, "MAX_HELD", 2_000)
    return 2_000


@pytest.mark.parametrize(("mode", "fail_open", "error"), READINGS)
def test_a_body_that_is_too_long(mode: str, fail_open: bool, error: str | None, limit: int) -> None:
    content = reply("x" * 3_000)
    owner = exchange(FakeGuard(), mode=mode, fail_open=fail_open)
    out = screened(owner, cuts(content, [300]), JSON)
    assert (out.error, out.content) == (error, b"" if error else content)
    assert decisions(owner) == [("response", "error", error is not None)]
    assert str(limit) in events_of(owner)[0].reason  # type: ignore[operator]


LONG: dict[str, list[bytes]] = {
    "a text that nobody clears": stream(*spoken(*["x" * 90] * 30)),
    "one event": stream(chunk("x" * 3_000)),
    "an event that never ends": [*stream(done=False), b"data: " + b"x" * 3_000],
    "bare text for ever": [f"data: {number} {'x' * 40}\n\n".encode() for number in range(60)],
}


@pytest.mark.parametrize(("mode", "fail_open", "error"), READINGS)
@pytest.mark.parametrize("name", LONG)
def test_a_stream_that_is_too_long(name: str, mode: str, fail_open: bool, error: str | None, limit: int) -> None:
    content = b"".join(LONG[name])
    owner = exchange(FakeGuard(), mode=mode, fail_open=fail_open)
    out = screened(owner, cuts(content, [100]))
    assert out.error == error
    if error is None:
        assert out.content == content
    else:
        assert content.startswith(out.content)
        assert len(out.content) < 3_000
        assert "cannot be guarded with the 2000 bytes kept for it" in str(out.stopped)
    assert [found for found in decisions(owner) if found[1] == "error"] == [
        ("response", "error", error is not None)
    ]


def test_beyond_the_limit_what_was_found_stays_out(limit: int) -> None:
    """Failing open lets pass what nobody could judge: not what has been judged."""
    content = stream(chunk("wait", index=1), chunk("the SECRET"), *spoken(*["x" * 90] * 30))
    guard = WindowedGuard(redact=["SECRET", "waiting"])
    out = screened(exchange(guard, fail_open=True), content)
    assert out.error is None
    assert chat_texts(out.content) == {0: "the [redacted]" + "x" * 2_700, 1: "wait"}


def test_texts_that_are_cleared_count_towards_the_limit_only_once(limit: int) -> None:
    """They are kept to be compared with what is said again: so a stream may be as long as the limit."""
    content = stream(*spoken(*["y" * 10] * 150), chunk(finish="stop"))
    out = screened(exchange(WindowedGuard(redact=["SECRET"])), content)
    assert (out.content, out.error) == (b"".join(content), None)


# ------------------------------------------------------------------------------------------------- on record


def test_what_a_reply_says_of_itself_goes_on_record() -> None:
    usage = {"id": "c-1", "model": "m", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 5}}
    for guard, mode in ((FakeGuard(), "enforce"), (FakeGuard(), "monitor"), (None, "enforce")):
        owner = exchange(guard, mode=mode, recording=True)
        content = stream(*spoken("a"), chunk(finish="stop"), usage)
        assert screened(owner, content).content == b"".join(content)
        assert isinstance(owner.recorder, Record)
        found = owner.recorder.summary
        assert (found.id, found.finish_reasons, found.input_tokens, found.output_tokens) == ("c-1", ("stop",), 3, 5)
        body = json.dumps({**usage, "choices": json.loads(reply("a"))["choices"]}).encode()
        owner = exchange(guard, mode=mode, recording=True)
        assert screened(owner, cuts(body, [50]), JSON).content == body
        assert isinstance(owner.recorder, Record)
        assert (owner.recorder.summary.finish_reasons, owner.recorder.summary.output_tokens) == (("stop",), 5)


def test_one_decision_for_each_text() -> None:
    owner = exchange(WindowedGuard(redact=["SECRET"]))
    data = [*spoken("the SEC", "RET"), *spoken("x", index=1), *called("{}"), chunk(finish="stop")]
    screened(owner, stream(*data))
    assert sorted(decisions(owner)) == [
        ("response", "allow", False),
        ("response", "modify", True),
        ("tool_call", "allow", False),
    ]


@pytest.mark.parametrize("codec", ["openai-chat", "openai-completions"])
def test_where_nobody_judges_only_telling_events_are_read(codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first, and those that say why it ended or what it cost: the same summary as from all of them."""
    said = [{"id": "c", "model": "m", "choices": [{"index": 0, "text": "a", "delta": {}, "finish_reason": None}]}]
    ends = {"id": "c", "model": "m", "choices": [{"index": 0, "text": "", "delta": {}, "finish_reason": "stop"}]}
    counts = {"id": "c", "model": "m", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 5}}
    owner = exchange(None, codec=codec, recording=True)
    parsed: list[bytes] = []
    framing = replace(FRAMING, parse=lambda raw: (parsed.append(raw), FRAMING.parse(raw))[1])
    chunks = sse(*said * 50, ends, counts, "[DONE]")
    out = passed(EventScreen(owner, load_codec(codec), framing), chunks)
    assert out.content == b"".join(chunks)
    assert len(parsed) == 4
    assert isinstance(owner.recorder, Record)
    found = owner.recorder.summary
    assert (found.id, found.finish_reasons, found.input_tokens, found.output_tokens) == ("c", ("stop",), 3, 5)
