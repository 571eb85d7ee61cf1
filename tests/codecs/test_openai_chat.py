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


def test_no_random_body_makes_it_raise() -> None:
    rolled = random.Random(17)
    for _ in range(1500):
        check_reads(CHAT, random_json(rolled))
        check_events(CHAT, [(None, random_json(rolled)) for _ in range(3)])
