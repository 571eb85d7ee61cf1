"""A stream's bytes from one format into another: however they are cut, wherever they end, whatever their size."""

from __future__ import annotations

import json

import pytest

from highflame_middleware.codecs import framing_for
from highflame_middleware.codecs.framing import Framing
from highflame_middleware.translation import (
    MAX_EVENT,
    MAX_STREAM,
    StreamTranslation,
    UntranslatableError,
    load_translator,
    translate_call,
)
from tests.servers import chunk, events
from tests.translation.conversations import REPLIES
from tests.translation.hearing import collect, deltas_of, hear_reply
from tests.translation.test_every_pair import read, written

CONTENT = b"".join(events(chunk("Hel"), chunk("lo"), chunk(finish="stop")))


def framing() -> Framing:
    found = framing_for("text/event-stream")
    assert found is not None
    return found


def opened(target: str = "openai-responses") -> StreamTranslation:
    return StreamTranslation("openai-chat", target, framing=framing(), model="m")


def names(content: bytes) -> list[str | None]:
    return [framing().parse(raw).name for raw in framing().splitter().feed(content)]


@pytest.mark.parametrize("target", ["openai-chat", "openai-responses", "anthropic-messages", "bedrock-converse"])
def test_it_may_be_cut_anywhere(target: str) -> None:
    content = written(load_translator("openai-chat"), deltas_of(REPLIES["a tool called"]))
    whole = StreamTranslation("openai-chat", target, framing=framing())
    expected = whole.feed(content) + whole.finish()
    assert collect(read(load_translator(target), expected)).finish == "tool_calls"
    for place in range(1, len(content)):
        translation = StreamTranslation("openai-chat", target, framing=framing())
        out = translation.feed(content[:place]) + translation.feed(content[place:]) + translation.finish()
        assert out == expected
    translation = StreamTranslation("openai-chat", target, framing=framing())
    assert b"".join(translation.feed(bytes([byte])) for byte in content) + translation.finish() == expected


def test_a_piece_is_said_as_soon_as_it_is_read() -> None:
    translation = opened()
    assert names(translation.feed(events(chunk("Hel"), done=False)[0]))[-1] == "response.output_text.delta"


def test_the_end_marker_is_the_end() -> None:
    """Clients stop reading at it: all must be said by then, and nothing after."""
    translation = opened()
    assert names(translation.feed(CONTENT))[-1] == "response.completed"
    assert translation.feed(CONTENT) == b""
    assert translation.finish() == b""


def test_the_end_marker_is_written_where_a_format_has_one() -> None:
    content = written(load_translator("openai-responses"), deltas_of(REPLIES["a text"]))
    translation = StreamTranslation("openai-responses", "openai-chat", framing=framing())
    assert translation.feed(content).endswith(b"data: [DONE]\n\n")


def test_no_end_marker_follows_an_error() -> None:
    error = b'data: {"error": {"message": "overloaded"}}\n\n'
    translation = opened("openai-chat")
    out = translation.feed(events(chunk("Hel"), done=False)[0] + error + b"data: [DONE]\n\n") + translation.finish()
    assert b"[DONE]" not in out
    assert json.loads(framing().splitter().feed(out)[-1][6:])["error"]["message"] == "overloaded"


def test_what_cannot_be_said_ends_it_with_an_error() -> None:
    """What came before is said; the error names what it was and no text."""
    tool = {"index": 0, "id": "c", "type": "custom", "custom": {"name": "sql", "input": "secret words"}}
    translation = opened()
    out = translation.feed(b"".join(events(chunk("Hel"), chunk(tool_calls=[tool]), chunk("lo"))))
    assert names(out)[-2:] == ["response.output_text.delta", "error"]
    assert b"secret" not in out
    assert translation.finish() == b""


def test_an_event_without_end_is_not_waited_for() -> None:
    translation = opened()
    out = b""
    for _ in range(MAX_EVENT // 2**20 + 1):
        assert not out
        out = translation.feed(b"x" * 2**20)
    assert names(out)[-1] == "error"
    assert translation.feed(CONTENT) == b""


def test_a_stream_without_end_is_left() -> None:
    translation = opened()
    comment = b": " + b"x" * (2**20 - 4) + b"\n\n"
    out = b""
    for _ in range(MAX_STREAM // 2**20 + 1):
        assert not out
        out = translation.feed(comment)
    assert names(out)[-1] == "error"


def test_lines_are_streams_too() -> None:
    lines = framing_for("application/x-ndjson")
    assert lines is not None
    content = b"".join(json.dumps(data).encode() + b"\n" for data in (chunk("Hi"), chunk(finish="stop")))
    translation = StreamTranslation("openai-chat", "openai-responses", framing=lines, model="m")
    out = translation.feed(content) + translation.finish()
    heard = hear_reply(collect(read(load_translator("openai-responses"), out)))
    assert heard["parts"] == [["text", "Hi"]]


def test_a_format_that_nobody_translates() -> None:
    with pytest.raises(UntranslatableError):
        translate_call({}, "/v1/embeddings", "openai-embeddings", "openai-chat")
