"""Streams of OpenAI's chat completions: which text each piece is part of, and what a stream says of itself."""

from __future__ import annotations

from typing import Any

import pytest

from highflame_middleware.codecs.parts import Summary, Text
from tests.codecs.shapes import at, check_events, spoilt
from tests.codecs.test_openai_chat import CHAT, USAGE


def chunk(*choices: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"id": "c-1", "object": "chat.completion.chunk", "model": "gpt", "choices": list(choices), **fields}


def delta(index: int = 0, finish: Any = None, **fields: Any) -> dict[str, Any]:
    return {"index": index, "delta": fields, "logprobs": None, "finish_reason": finish}


def piece(number: int | None, name: str | None = None, arguments: Any = None, **fields: Any) -> dict[str, Any]:
    """A piece of a tool call."""
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    numbered = {} if number is None else {"index": number}
    return {**numbered, **fields, "function": function}


def channels(*chunks: Any) -> list[tuple[str, str | None, str]]:
    """The texts that a stream's pieces add up to: stage, tool (as known at its end) and text, in order of begin."""
    reader = CHAT.open_stream()
    texts: dict[Any, list[Text]] = {}
    for data in chunks:
        for text in reader.read(data, None).texts:
            assert text.channel is not None
            assert text.value == "" or at(data, text.path) == text.value
            texts.setdefault(text.channel, []).append(text)
    return [
        (pieces[0].stage.value, pieces[-1].tool, "".join(text.value for text in pieces))
        for pieces in texts.values()
    ]


STREAMS: dict[str, tuple[list[Any], list[tuple[str, str | None, str]]]] = {
    "content": (
        [chunk(delta(role="assistant", content="")), chunk(delta(content="Hel")), chunk(delta(content="lo"))],
        [("response", None, "Hello")],
    ),
    "choices in turn": (
        [
            chunk(delta(0, content="a")),
            chunk(delta(1, content="x")),
            chunk(delta(0, content="b"), delta(1, content="y")),
        ],
        [("response", None, "ab"), ("response", None, "xy")],
    ),
    "choices without numbers": (
        [chunk({"delta": {"content": "a"}}, {"delta": {"content": "x"}})] * 2,
        [("response", None, "aa"), ("response", None, "xx")],
    ),
    "kinds of text": (
        [
            chunk(delta(reasoning_content="r", content="c", refusal="f")),
            chunk(delta(reasoning_content="R", content="C")),
        ],
        [("response", None, "rR"), ("response", None, "cC"), ("response", None, "f")],
    ),
    "said twice": (
        [
            chunk({"index": 0, "text": "Hel", "delta": {"content": "Hel"}}),
            chunk({"index": 0, "text": "lo", "delta": {"content": "lo"}}),
        ],
        [("response", None, "Hello"), ("response", None, "Hello")],
    ),
    "whole messages": ([chunk({"index": 0, "message": {"content": "x"}})], [("response", None, "x")]),
    "a tool call": (
        [
            chunk(delta(tool_calls=[piece(0, "find", "", id="c1")])),
            chunk(delta(tool_calls=[piece(0, None, '{"a"')])),
            chunk(delta(tool_calls=[piece(0, None, ": 1}")])),
        ],
        [("tool_call", "find", '{"a": 1}')],
    ),
    "tool calls in turn": (
        [
            chunk(delta(tool_calls=[piece(0, "a", "", id="c1"), piece(1, "b", "", id="c2")])),
            chunk(delta(tool_calls=[piece(1, None, "{1")])),
            chunk(delta(tool_calls=[piece(0, None, "{0"), piece(1, None, "}")])),
        ],
        [("tool_call", "a", "{0"), ("tool_call", "b", "{1}")],
    ),
    "calls without numbers": (
        [chunk(delta(tool_calls=[piece(None, "a", "{0}", id="c1"), piece(None, "b", "{1}", id="c2")]))],
        [("tool_call", "a", "{0}"), ("tool_call", "b", "{1}")],
    ),
    "calls that are all number 0": (
        [
            chunk(delta(tool_calls=[piece(0, "a", "{0}", id="c1")])),
            chunk(delta(tool_calls=[piece(0, "b", "{1}", id="c2")])),
        ],
        [("tool_call", "a", "{0}"), ("tool_call", "b", "{1}")],
    ),
    "a call that repeats its id and name": (
        [chunk(delta(tool_calls=[piece(0, "a", part, id="c1")])) for part in ("{", "0", "}")],
        [("tool_call", "a", "{0}")],
    ),
    "a call with another id in every piece": (
        [
            chunk(delta(tool_calls=[piece(0, "a", "{", id="c1")])),
            chunk(delta(tool_calls=[piece(0, None, "}", id="c2")])),
        ],
        [("tool_call", "a", "{}")],
    ),
    "a call without arguments": (
        [chunk(delta(tool_calls=[piece(0, "stop", id="c1")])), chunk(delta(finish="tool_calls"))],
        [("tool_call", "stop", "")],
    ),
    "a custom tool": (
        [
            chunk(
                delta(
                    tool_calls=[
                        {"index": 0, "id": "c", "type": "custom", "custom": {"name": "sql", "input": "sel"}}
                    ]
                )
            ),
            chunk(delta(tool_calls=[{"index": 0, "custom": {"input": "ect"}}])),
        ],
        [("tool_call", "sql", "select")],
    ),
    "an old call": (
        [
            chunk(delta(function_call={"name": "f", "arguments": ""})),
            chunk(delta(function_call={"arguments": "{"})),
            chunk(delta(function_call={"arguments": "}"})),
        ],
        [("tool_call", "f", "{}")],
    ),
    "calls of two choices": (
        [chunk(delta(0, tool_calls=[piece(0, "a", "{0}")]), delta(1, tool_calls=[piece(0, "b", "{1}")]))],
        [("tool_call", "a", "{0}"), ("tool_call", "b", "{1}")],
    ),
    "content in parts": (
        [
            chunk(delta(content=[{"type": "text", "text": "a"}])),
            chunk(delta(content=[{"type": "text", "text": "b"}])),
        ],
        [("response", None, "ab")],
    ),
    "audio": (
        [
            chunk(delta(audio={"id": "a", "transcript": "He"})),
            chunk(delta(audio={"data": "AAAA", "transcript": "y"})),
        ],
        [("response", None, "Hey")],
    ),
}


@pytest.mark.parametrize("name", STREAMS)
def test_the_pieces_of_a_stream_add_up(name: str) -> None:
    chunks, expected = STREAMS[name]
    assert channels(*chunks) == expected


def test_arguments_are_known_as_json_from_their_first_piece() -> None:
    """Which may be empty: the gauge of a text goes by its first piece."""
    reader = CHAT.open_stream()
    (text,) = reader.read(chunk(delta(tool_calls=[piece(0, "f", "")])), None).texts
    assert (text.value, text.is_json) == ("", True)


CLOSES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "a reason": (chunk(delta(0, "stop")), ((0,),)),
    "two reasons": (chunk(delta(0, "stop"), delta(2, "length")), ((0,), (2,))),
    "no reason": (chunk(delta(0, None)), ()),
    "an empty reason in every chunk": (chunk(delta(0, "")), ()),
    "no number": (chunk({"delta": {}}, {"delta": {}, "finish_reason": "stop"}), ((1,),)),
    "usage only": (chunk(usage=USAGE), ()),
}


@pytest.mark.parametrize("name", CLOSES)
def test_a_choice_ends_with_its_reason(name: str) -> None:
    data, expected = CLOSES[name]
    assert CHAT.open_stream().read(data, None).closes == expected


def test_every_channel_of_a_choice_begins_with_its_number() -> None:
    """So that its end closes them all."""
    reader = CHAT.open_stream()
    data = chunk(
        {"index": 3, "text": "t", "message": {"content": "m"}, "delta": {
            "content": "c", "tool_calls": [piece(0, "f", "{}")], "function_call": {"name": "g", "arguments": "{}"},
        }}
    )  # fmt: skip
    texts = reader.read(data, None).texts
    assert len(texts) == 5
    assert {text.channel[0] for text in texts if text.channel} == {3}
    assert len({text.channel for text in texts}) == 5


def test_what_a_stream_says_of_itself() -> None:
    reader = CHAT.open_stream()
    summary = Summary()
    for data in (chunk(delta(content="x")), chunk(delta(0, "stop")), chunk(usage=USAGE, service_tier="default")):
        read = reader.read(data, None)
        assert read.summary is not None
        summary = summary.updated(read.summary)
    assert (summary.id, summary.model, summary.finish_reasons) == ("c-1", "gpt", ("stop",))
    assert (summary.input_tokens, summary.output_tokens, summary.service_tier) == (11, 7, "default")


def test_log_probabilities_of_a_chunk_go_with_its_text() -> None:
    data = chunk({"index": 0, "delta": {"content": "x"}, "logprobs": {"content": [{"token": "x"}]}})
    (text,) = CHAT.open_stream().read(data, None).texts
    assert text.shadows == (("choices", 0, "logprobs"),)


@pytest.mark.parametrize("data", [{"error": {"message": "x", "type": "t"}}, ["x"], "x"])
def test_an_event_that_is_no_chunk_is_read_whole(data: Any) -> None:
    read = CHAT.open_stream().read(data, None)
    assert [text.value for text in read.texts] == ["x"]
    assert [text.channel for text in read.texts] == [None]


def test_no_event_makes_it_raise() -> None:
    good = chunk(
        delta(0, "stop", content="x", tool_calls=[piece(0, "f", "{}", id="c")], function_call={"name": "f"})
    )
    for data in spoilt(good):
        check_events(CHAT, [(None, good), (None, data), (None, good)])
