"""anthropic-messages as a stream: its pieces add up, and a redaction finds them wherever they are cut."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from highflame_middleware.codecs import load_codec
from highflame_middleware.codecs.parts import Summary, Text, edits_of, rewrite
from highflame_middleware.codecs.sse import Splitter, parse_event, render_event
from highflame_middleware.drivers import perform
from highflame_middleware.flow import run
from highflame_middleware.screens import screen_for
from highflame_middleware.testing import FakeGuard
from tests.codecs.shapes import check_events, check_texts, spoilt
from tests.codecs.test_anthropic_messages import USAGE, content_of, message, recordings
from tests.exchanges import exchange
from tests.replay.records import folder

MESSAGES = load_codec("anthropic-messages")


def start(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: int, kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **fields}}


def stop(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def channels(*events: Any) -> list[tuple[str, str | None, str]]:
    """The texts that a stream's pieces add up to, and those that come whole: stage, tool and text."""
    reader = MESSAGES.open_stream()
    texts: dict[Any, list[Text]] = {}
    for count, data in enumerate(events):
        read = reader.read(data, data.get("type"))
        check_texts(data, read.texts)
        for text in read.texts:
            texts.setdefault(text.channel or count, []).append(text)
    return [
        (pieces[0].stage.value, pieces[0].tool, "".join(text.value for text in pieces)) for pieces in texts.values()
    ]


STREAMS: dict[str, tuple[list[Any], list[tuple[str, str | None, str]]]] = {
    "text": (
        [start(0, type="text", text=""), delta(0, "text_delta", text="Hel"), delta(0, "text_delta", text="lo")],
        [("response", None, "Hello")],
    ),
    "text that begins at once": (
        [start(0, type="text", text="Hel"), delta(0, "text_delta", text="lo")],
        [("response", None, "Hello")],
    ),
    "blocks in turn": (
        [
            start(0, type="thinking", thinking="", signature=""),
            delta(0, "thinking_delta", thinking="a"),
            start(1, type="text", text=""),
            delta(1, "text_delta", text="x"),
            delta(0, "thinking_delta", thinking="b"),
            delta(0, "signature_delta", signature="AAAA"),
        ],
        [("response", None, "ab"), ("response", None, "x")],
    ),
    "a call": (
        [
            start(1, type="tool_use", id="t", name="find", input={}),
            delta(1, "input_json_delta", partial_json=""),
            delta(1, "input_json_delta", partial_json='{"a"'),
            delta(1, "input_json_delta", partial_json=": 1}"),
            stop(1),
        ],
        [("tool_call", "find", '{"a": 1}')],
    ),
    "a call with nothing": (
        [start(1, type="tool_use", id="t", name="stop", input={}), stop(1)],
        [("tool_call", "stop", "")],
    ),
    "a call that comes whole": (
        [start(1, type="tool_use", id="t", name="find", input={"a": 1}), stop(1)],
        [("tool_call", "find", '{"a":1}')],
    ),
    "a server's call, and its result": (
        [
            start(0, type="server_tool_use", id="s", name="web_search", input={}),
            delta(0, "input_json_delta", partial_json="{}"),
            start(1, type="web_search_tool_result", tool_use_id="s", content=[{"title": "x", "url": "y"}]),
        ],
        [("tool_call", "web_search", "{}"), ("tool_result", "web_search", "xy")],
    ),
    "an MCP call, and its result": (
        [
            start(0, type="mcp_tool_use", id="s", name="ask", server_name="s", input={}),
            start(1, type="mcp_tool_result", tool_use_id="s", content=[{"type": "text", "text": "x"}]),
            start(2, type="mcp_tool_result", tool_use_id="s", content="y"),
        ],
        [("tool_call", "ask", ""), ("tool_result", "ask", "x"), ("tool_result", "ask", "y")],
    ),
    "a citation": (
        [
            start(0, type="text", text="", citations=[]),
            delta(0, "citations_delta", citation={"type": "c", "cited_text": "x", "encrypted_index": "AA"}),
            delta(0, "text_delta", text="y"),
        ],
        [("response", None, "x"), ("response", None, "y")],
    ),
    "a compaction": (
        [
            start(0, type="compaction", content=None),
            delta(0, "compaction_delta", content="x", encrypted_content="A"),
        ],
        [("response", None, "x")],
    ),
    "an unknown block": (
        [
            start(0, type="poem", title="", id="p"),
            delta(0, "poem_delta", line="Hel", rhyme={"with": "a"}),
            delta(0, "poem_delta", line="lo", rhyme={"with": "b"}),
        ],
        [("response", None, "Hello"), ("response", None, "ab")],
    ),
    "a delta of nothing begun": (
        [delta(5, "text_delta", text="x"), delta(6, "input_json_delta", partial_json="y")],
        [("response", None, "x"), ("tool_call", None, "y")],
    ),
    "a message that begins with something": (
        [{"type": "message_start", "message": message({"type": "text", "text": "x"})}],
        [("response", None, "x")],
    ),
    "why it stopped": (
        [
            {
                "type": "message_delta",
                "delta": {"stop_reason": "refusal", "stop_details": {"type": "refusal", "explanation": "x"}},
                "usage": {},
            }
        ],
        [("response", None, "x")],
    ),
    "an error": (
        [{"type": "error", "error": {"type": "overloaded_error", "message": "x"}}],
        [("response", None, "x")],
    ),
    "an unknown event": ([{"type": "aside", "id": "1", "note": "x"}], [("response", None, "x")]),
    "nothing": ([{"type": "ping"}, {"type": "message_stop"}, stop(0)], []),
}


@pytest.mark.parametrize("name", STREAMS)
def test_the_pieces_of_a_stream_add_up(name: str) -> None:
    events, expected = STREAMS[name]
    assert channels(*events) == expected


def test_arguments_are_known_as_json_from_their_first_piece() -> None:
    """Which is empty: the gauge of a text goes by its first piece, which holds back the call's beginning."""
    reader = MESSAGES.open_stream()
    (text,) = reader.read(start(0, type="tool_use", id="t", name="f", input={}), None).texts
    assert (text.value, text.is_json, text.channel) == ("", True, (0, "input"))


def test_a_block_ends_and_so_does_the_stream() -> None:
    reader = MESSAGES.open_stream()
    assert reader.read(stop(3), None).closes == ((3,),)
    ends = {"message_stop": True, "error": True, "ping": False, "message_delta": False}
    assert {kind: reader.read({"type": kind}, None).terminal for kind in ends} == ends
    assert reader.read({}, "message_stop").terminal, "named by the event alone"


def test_what_a_stream_says_of_itself() -> None:
    """The last event repeats some counts and leaves out others."""
    reader = MESSAGES.open_stream()
    summary = Summary()
    begun = message(stop_reason=None, usage={**USAGE, "output_tokens": 1, "output_tokens_details": None})
    for data in (
        {"type": "message_start", "message": begun},
        delta(0, "text_delta", text="x"),
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"input_tokens": 12, "cache_read_input_tokens": None, "output_tokens": 7},
        },
    ):
        if (said := reader.read(data, None).summary) is not None:
            summary = summary.updated(said)
    assert summary == Summary(
        id="msg_1",
        model="claude",
        finish_reasons=("end_turn",),
        input_tokens=132,
        output_tokens=7,
        cached_tokens=100,
        cache_written_tokens=20,
    )


def sse(*events: dict[str, Any]) -> bytes:
    return b"".join(f"event: {data['type']}\ndata: {json.dumps(data)}\n\n".encode() for data in events)


def screened(chunks: list[bytes]) -> bytes:
    owner = exchange(FakeGuard(redact=["SECRET"]), codec="anthropic-messages")
    screen = screen_for(owner, status=200, content_type="text/event-stream", codec=MESSAGES)
    assert screen is not None
    return b"".join([*(run(screen.feed(chunk), perform) for chunk in chunks), run(screen.finish(), perform)])


def read_back(content: bytes) -> list[tuple[str, str | None, str]]:
    return channels(*(parse_event(raw).data for raw in Splitter().feed(content)))


WAYS: dict[str, tuple[dict[str, Any], Callable[[str], dict[str, Any]], str]] = {
    "text": (start(0, type="text", text=""), lambda piece: delta(0, "text_delta", text=piece), "so SECRET is"),
    "thinking": (
        start(0, type="thinking", thinking="", signature=""),
        lambda piece: delta(0, "thinking_delta", thinking=piece),
        "so SECRET is",
    ),
    "arguments": (
        start(0, type="tool_use", id="t", name="f", input={}),
        lambda piece: delta(0, "input_json_delta", partial_json=piece),
        '{"q":"SECRET"}',
    ),
    "a compaction": (
        start(0, type="compaction", content=None),
        lambda piece: delta(0, "compaction_delta", content=piece),
        "so SECRET is",
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_redaction_across_every_split(way: str) -> None:
    begin, piece, text = WAYS[way]
    for cut in range(len(text) + 1):
        content = sse(begin, piece(text[:cut]), piece(text[cut:]), stop(0), {"type": "message_stop"})
        ((_, _, said),) = read_back(screened([content]))
        assert said == text.replace("SECRET", "[redacted]"), cut


@pytest.mark.parametrize("way", WAYS)
def test_a_redaction_wherever_the_bytes_are_cut(way: str) -> None:
    begin, piece, text = WAYS[way]
    content = sse(begin, piece(text[:5]), piece(text[5:]), stop(0), {"type": "message_stop"})
    whole = screened([content])
    assert b"SECRET" not in whole
    assert screened([content[at : at + 1] for at in range(len(content))]) == whole
    for cut in range(0, len(content), 7):
        assert screened([content[:cut], content[cut:]]) == whole


def test_no_event_makes_it_raise() -> None:
    for events, _ in STREAMS.values():
        for position, good in enumerate(events):
            for data in spoilt(good):
                spoilt_events = [*events[:position], data, *events[position + 1 :]]
                check_events(MESSAGES, [(None, event) for event in spoilt_events])


def stream_is_fixed(content: bytes) -> int:
    splitter, reader, count = Splitter(), MESSAGES.open_stream(), 0
    for raw in [*splitter.feed(content), splitter.finish()]:
        event = parse_event(raw)
        if not event.is_json:
            continue
        texts = reader.read(event.data, event.name).texts
        check_texts(event.data, texts)
        count += len(texts)
        said = [(text, text.value) for text in texts if text.value]
        again = parse_event(render_event(event, rewrite(event.data, edits_of(said))))
        assert (again.data, again.name) == (event.data, event.name)
    return count


def test_recorded_streams_are_a_fixed_point() -> None:
    records = [record for record in recordings() if record.stream and record.status == 200]
    if not records:
        pytest.skip(f"no recorded traffic at {folder()}: set TRAFFIC_DIR to a folder of *.jsonl.gz")
    assert sum(stream_is_fixed(content_of(record)) for record in records) > 500


def test_recorded_streams_add_up_to_what_they_count() -> None:
    """Every stream of the recordings says how it ended and what it cost, and every tool that it calls is named."""
    records = [record for record in recordings() if record.stream and record.status == 200]
    if not records:
        pytest.skip(f"no recorded traffic at {folder()}: set TRAFFIC_DIR to a folder of *.jsonl.gz")
    for record in records:
        reader, summary = MESSAGES.open_stream(), Summary()
        for raw in Splitter().feed(content_of(record)):
            event = parse_event(raw)
            read = reader.read(event.data, event.name)
            summary = summary.updated(read.summary) if read.summary is not None else summary
            assert all(text.tool for text in read.texts if text.stage == "tool_call")
        assert summary.finish_reasons
        assert summary.input_tokens
        assert summary.output_tokens
