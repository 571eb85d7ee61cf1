"""openai-chat: every text is found where it stands, nothing else is, and no shape makes it raise."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest

from highflame_middleware.codecs import load_codec
from highflame_middleware.codecs.parts import Params, Path, Summary, Text, rewrite
from tests.codecs.shapes import at, check_events, check_reads, random_json, spoilt

CHAT = load_codec("openai-chat")

# Marked "§": what the guard has to see. Nothing else in the body is marked.
CALL: dict[str, Any] = {
    "model": "gpt-4o",
    "messages": [
        {"role": "system", "content": "§ be kind"},
        {"role": "developer", "content": [{"type": "text", "text": "§ be brief"}]},
        {"role": "user", "name": "ada", "content": "§ hello"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "§ what is this?", "cache_control": {"type": "ephemeral"}},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
                {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
                {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA", "filename": "a.pdf"}},
                {"type": "new_kind", "prose": {"deep": ["§ a shape never seen"]}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "refusal": "§ I will not",
            "reasoning_content": "§ let me think",
            "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "find", "arguments": '§{"q": "x"}'}},
                {"id": "call_2", "type": "custom", "custom": {"name": "sql", "input": "§ select 1"}},
                {"id": "call_3", "type": "function", "function": {"name": "stop", "arguments": ""}},
            ],
        },
        {"role": "assistant", "content": "§ done", "function_call": {"name": "old", "arguments": "§{}"}},
        {"role": "tool", "tool_call_id": "call_1", "content": "§ found nothing"},
        {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "§ one row"}]},
        {"role": "function", "name": "old", "content": "§ old result"},
        "§ a bare message",
    ],
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "find",
                "description": "§ finds things",
                "parameters": {
                    "type": "object",
                    "properties": {"q": {"type": "string", "description": "§ the question"}},
                },
            },
        },
        {"type": "custom", "custom": {"name": "sql", "description": "§ runs queries", "format": {"type": "text"}}},
    ],
    "functions": [{"name": "old", "description": "§ an old one"}],
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "answer", "description": "§ the answer", "schema": {"description": "§ a schema"}},
    },
    "prediction": {"type": "content", "content": [{"type": "text", "text": "§ predicted"}]},
    "stream": True,
    "user": "user-1",
    "metadata": {"team": "core"},
}
EMPTY_CALL: Path = ("messages", 4, "tool_calls", 2, "function", "arguments")


def marked(body: Any, path: Path = ()) -> list[Path]:
    """The places of all texts with the mark in them."""
    if isinstance(body, str):
        return [path] if "§" in body else []
    items = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    return [found for key, below in items for found in marked(below, (*path, key))]


def brief(text: Text) -> tuple[Any, ...]:
    """A text without its value and path."""
    return (text.stage.value, text.role, text.tool, text.is_json)


def test_every_text_of_a_call_and_nothing_else() -> None:
    read = CHAT.read_call(CALL)
    assert (read.model, read.stream) == ("gpt-4o", True)
    others = {"ephemeral"}  # an unknown object's: better read than missed
    found = [text.path for text in read.texts if text.value not in others]
    assert sorted(map(str, found)) == sorted(map(str, [*marked(CALL), EMPTY_CALL]))
    assert all(at(CALL, text.path) == text.value for text in read.texts)


PROMPTS: dict[str, tuple[Path, tuple[Any, ...]]] = {
    "system": (("messages", 0, "content"), ("prompt", "system", None, False)),
    "developer": (("messages", 1, "content", 0, "text"), ("prompt", "developer", None, False)),
    "user": (("messages", 2, "content"), ("prompt", "user", None, False)),
    "a part": (("messages", 3, "content", 0, "text"), ("prompt", "user", None, False)),
    "an unknown part": (("messages", 3, "content", 4, "prose", "deep", 0), ("prompt", "user", None, False)),
    "reasoning": (("messages", 4, "reasoning_content"), ("prompt", "assistant", None, False)),
    "refusal": (("messages", 4, "refusal"), ("prompt", "assistant", None, False)),
    "arguments": (
        ("messages", 4, "tool_calls", 0, "function", "arguments"),
        ("tool_call", "assistant", "find", True),
    ),
    "free input": (("messages", 4, "tool_calls", 1, "custom", "input"), ("tool_call", "assistant", "sql", False)),
    "a call with nothing": (EMPTY_CALL, ("tool_call", "assistant", "stop", True)),
    "an old call": (("messages", 5, "function_call", "arguments"), ("tool_call", "assistant", "old", True)),
    "a result": (("messages", 6, "content"), ("tool_result", "tool", None, False)),
    "a result in parts": (("messages", 7, "content", 0, "text"), ("tool_result", "tool", None, False)),
    "an old result": (("messages", 8, "content"), ("tool_result", "function", None, False)),
    "a bare message": (("messages", 9), ("prompt", "user", None, False)),
    "a tool's description": (("tools", 0, "function", "description"), ("prompt", "tool_definition", None, False)),
    "a schema's": (
        ("response_format", "json_schema", "schema", "description"),
        ("prompt", "tool_definition", None, False),
    ),
    "a prediction": (("prediction", "content", 0, "text"), ("prompt", "user", None, False)),
}


@pytest.mark.parametrize("name", PROMPTS)
def test_where_a_text_of_a_call_stands(name: str) -> None:
    path, expected = PROMPTS[name]
    (text,) = [text for text in CHAT.read_call(CALL).texts if text.path == path]
    assert brief(text) == expected


def test_an_edit_keeps_every_other_field() -> None:
    before = copy.deepcopy(CALL)
    texts = CHAT.read_call(CALL).texts
    assert rewrite(CALL, {text.path: text.value for text in texts}) == before
    edited = rewrite(CALL, {text.path: text.value.replace("§", "#") for text in texts})
    assert marked(edited) == []
    assert rewrite(edited, {text.path: text.value for text in texts}) == before


# ------------------------------------------------------------------------------------------------- replies


def choice(index: int = 0, **fields: Any) -> dict[str, Any]:
    return {"index": index, "finish_reason": "stop", "logprobs": None, **fields}


def chat(*choices: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "id": "c-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt",
        "choices": list(choices),
        **fields,
    }


def said(**message: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, **message}


def called(name: str | None, arguments: Any, **fields: Any) -> dict[str, Any]:
    return {"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}, **fields}


M: Path = ("choices", 0, "message")
REPLIES: dict[str, tuple[Any, list[tuple[Path, tuple[Any, ...]]]]] = {
    "content": (
        chat(choice(message=said(content="x"))),
        [((*M, "content"), ("response", "assistant", None, False))],
    ),
    "several choices": (
        chat(choice(message=said(content="x")), choice(1, message=said(content="y"))),
        [
            ((*M, "content"), ("response", "assistant", None, False)),
            (("choices", 1, "message", "content"), ("response", "assistant", None, False)),
        ],
    ),
    "a refusal": (
        chat(choice(message=said(refusal="x"))),
        [((*M, "refusal"), ("response", "assistant", None, False))],
    ),
    "reasoning and what comes with it": (
        chat(
            choice(message=said(reasoning_details=[{"type": "reasoning.text", "text": "x", "signature": "AA=="}]))
        ),
        [((*M, "reasoning_details", 0, "text"), ("response", "assistant", None, False))],
    ),
    "audio": (
        chat(choice(message=said(audio={"id": "a", "data": "UklGRg==", "transcript": "x", "expires_at": 1}))),
        [((*M, "audio", "transcript"), ("response", "assistant", None, False))],
    ),
    "an annotation": (
        chat(
            choice(
                message=said(
                    annotations=[{"type": "url_citation", "url_citation": {"title": "x", "start_index": 1}}]
                )
            )
        ),
        [((*M, "annotations", 0, "url_citation", "title"), ("response", "assistant", None, False))],
    ),
    "a tool call": (
        chat(choice(message=said(tool_calls=[called("f", "{}")]))),
        [((*M, "tool_calls", 0, "function", "arguments"), ("tool_call", "assistant", "f", True))],
    ),
    "a call without arguments": (
        chat(choice(message=said(tool_calls=[called("f", None), called("g", "")]))),
        [
            ((*M, "tool_calls", 0, "function", "arguments"), ("tool_call", "assistant", "f", True)),
            ((*M, "tool_calls", 1, "function", "arguments"), ("tool_call", "assistant", "g", True)),
        ],
    ),
    "arguments that are an object": (
        chat(choice(message=said(tool_calls=[called("f", {"name": "x", "id": {"data": "y"}, "n": 1})]))),
        [
            ((*M, "tool_calls", 0, "function", "arguments"), ("tool_call", "assistant", "f", True)),
        ],
    ),
    "a call of another kind": (
        chat(choice(message=said(tool_calls=[{"id": "c", "type": "mcp", "mcp": {"name": "f", "arguments": "x"}}]))),
        [((*M, "tool_calls", 0, "mcp", "arguments"), ("tool_call", "assistant", "f", True))],
    ),
    "a flat call": (
        chat(choice(message=said(tool_calls=[{"id": "c", "type": "function", "name": "f", "arguments": "x"}]))),
        [((*M, "tool_calls", 0, "arguments"), ("tool_call", "assistant", "f", True))],
    ),
    "a call named twice": (
        chat(choice(message=said(tool_calls=[{**called("f", "x"), "name": "f"}]))),
        [((*M, "tool_calls", 0, "function", "arguments"), ("tool_call", "assistant", "f", True))],
    ),
    "a call of no known shape": (
        chat(choice(message=said(tool_calls=[{"id": "c", "type": "t", "step": {"do": "x"}}]))),
        [((*M, "tool_calls", 0, "step", "do"), ("tool_call", "assistant", None, False))],
    ),
    "what is no call of a call": (
        chat(
            choice(
                message=said(tool_calls=[called("f", "x", extra_content={"google": {"thought_signature": "AA=="}})])
            )
        ),
        [((*M, "tool_calls", 0, "function", "arguments"), ("tool_call", "assistant", "f", True))],
    ),
    "calls that are no list": (
        chat(choice(message=said(tool_calls={"0": "x"}))),
        [((*M, "tool_calls", "0"), ("response", "assistant", None, False))],
    ),
    "an old call": (
        chat(choice(message=said(function_call={"name": "f", "arguments": "x"}))),
        [((*M, "function_call", "arguments"), ("tool_call", "assistant", "f", True))],
    ),
    "a message that is a string": (chat(choice(message="x")), [(M, ("response", "assistant", None, False))]),
    "a text beside the message": (
        chat(choice(message=said(content="x"), text="y")),
        [
            ((*M, "content"), ("response", "assistant", None, False)),
            (("choices", 0, "text"), ("response", "assistant", None, False)),
        ],
    ),
    "stored completions": (
        {"object": "list", "data": [chat(choice(message=said(content="x")))], "has_more": False},
        [(("data", 0, "choices", 0, "message", "content"), ("response", "assistant", None, False))],
    ),
    "a stored completion's messages": (
        {"object": "list", "data": [{"id": "m-1", "role": "user", "content": "x"}]},
        [(("data", 0, "content"), ("response", "assistant", None, False))],
    ),
    "no completion at all": (
        {"answer": {"data": "x", "id": "1"}, "status": "y"},
        [
            (("answer", "data"), ("response", "assistant", None, False)),
            (("status",), ("response", "assistant", None, False)),
        ],
    ),
    "a string": ("x", [((), ("response", "assistant", None, False))]),
    "a list": (["x", {"id": "1"}], [((0,), ("response", "assistant", None, False))]),
    "nothing said": (chat(choice(message=said(content=""))), []),
    "no choices": (chat(), []),
    "only numbers": ({"n": [1, 2.5, None]}, []),
}


@pytest.mark.parametrize("name", REPLIES)
def test_every_text_of_a_reply_and_nothing_else(name: str) -> None:
    body, expected = REPLIES[name]
    assert [(text.path, brief(text)) for text in CHAT.read_reply(body).texts] == expected


def test_log_probabilities_go_with_the_text_that_they_spell_out() -> None:
    logprobs = {"content": [{"token": "x", "bytes": [120]}]}
    body = chat(
        choice(message=said(content="x", refusal="y"), logprobs=logprobs), choice(1, message=said(content="z"))
    )
    shadows = [text.shadows for text in CHAT.read_reply(body).texts]
    assert shadows == [(("choices", 0, "logprobs"),), (("choices", 0, "logprobs"),), ()]


USAGE = {
    "prompt_tokens": 11,
    "completion_tokens": 7,
    "total_tokens": 18,
    "prompt_tokens_details": {"cached_tokens": 3},
    "completion_tokens_details": {"reasoning_tokens": 2},
}


def test_what_a_reply_says_of_itself() -> None:
    body = chat(
        choice(message=said(content="x")),
        choice(1, message=said(content="y"), finish_reason="length"),
        choice(2, message=said(content="y"), finish_reason=None),
        usage=USAGE,
        service_tier="default",
        system_fingerprint="fp",
    )
    assert CHAT.read_reply(body).summary == Summary(
        id="c-1",
        model="gpt",
        finish_reasons=("stop", "length"),
        input_tokens=11,
        output_tokens=7,
        cached_tokens=3,
        reasoning_tokens=2,
        service_tier="default",
        system_fingerprint="fp",
    )


PARAMS: dict[str, tuple[dict[str, Any], Params]] = {
    "none": ({}, Params()),
    "all": (
        {
            "max_tokens": 5,
            "temperature": 1,
            "top_p": 0.5,
            "frequency_penalty": 0.1,
            "presence_penalty": 0.2,
            "seed": 7,
            "n": 2,
            "stop": ["a", "b"],
            "response_format": {"type": "json_schema"},
            "service_tier": "flex",
        },
        Params(
            max_tokens=5,
            temperature=1.0,
            top_p=0.5,
            frequency_penalty=0.1,
            presence_penalty=0.2,
            seed=7,
            choice_count=2,
            stop_sequences=("a", "b"),
            output_type="json",
            service_tier="flex",
        ),
    ),
    "the newer limit": ({"max_completion_tokens": 9, "max_tokens": 5}, Params(max_tokens=9)),
    "one stop": ({"stop": "END"}, Params(stop_sequences=("END",))),
    "text": ({"response_format": {"type": "text"}}, Params(output_type="text")),
    "of wrong types": ({"max_tokens": "5", "temperature": True, "seed": 1.5, "stop": 3, "n": None}, Params()),
    "beyond floats": ({"temperature": 10**400}, Params()),
}


@pytest.mark.parametrize("name", PARAMS)
def test_parameters(name: str) -> None:
    body, expected = PARAMS[name]
    assert CHAT.read_params(body) == expected


# ------------------------------------------------------------------------------------------------- streams


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


# ------------------------------------------------------------------------------------------------- no and never


def test_a_refusal_is_read_as_one_refused_choice() -> None:
    body = CHAT.refuse("Blocked: x")
    read = CHAT.read_reply(body)
    assert [(text.path[-1], text.value) for text in read.texts] == [("refusal", "Blocked: x")]
    assert read.summary.finish_reasons == ("stop",), "not content_filter: the SDK's parse() raises on it"


def test_a_failure_is_one_event_with_an_error_in_it() -> None:
    name, data = CHAT.fail("x", "c")
    assert (name, data["error"]["message"], data["error"]["code"]) == (None, "x", "c")


def test_no_shape_makes_it_raise() -> None:
    check_reads(CHAT, CALL)
    for body in (
        *spoilt(chat(choice(message=said(content="x", tool_calls=[called("f", "{}")]), logprobs={}), usage=USAGE)),
    ):
        check_reads(CHAT, body)
    for body in spoilt(
        {"messages": [CALL["messages"][3], CALL["messages"][4]], "tools": CALL["tools"][:1], "stop": ["a"]}
    ):
        check_reads(CHAT, body)


def test_no_event_makes_it_raise() -> None:
    good = chunk(
        delta(0, "stop", content="x", tool_calls=[piece(0, "f", "{}", id="c")], function_call={"name": "f"})
    )
    for data in spoilt(good):
        check_events(CHAT, [(None, good), (None, data), (None, good)])


def test_no_random_body_makes_it_raise() -> None:
    rolled = random.Random(17)
    for _ in range(1500):
        check_reads(CHAT, random_json(rolled))
        check_events(CHAT, [(None, random_json(rolled)) for _ in range(3)])
