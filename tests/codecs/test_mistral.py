"""What Mistral does its own way: conversations, filling in the middle, thinking in chunks, arguments as objects."""

from __future__ import annotations

import random
from typing import Any

from highflame_middleware.codecs import codec_for_path, load_codec
from highflame_middleware.codecs.parts import Params, Summary, Text
from tests.codecs.shapes import check_events, check_reads, check_texts, random_json, spoilt

CONVERSATIONS, CHAT = load_codec("mistral-conversations"), load_codec("openai-chat")
CALL: dict[str, Any] = {
    "agent_id": "a",
    "instructions": "be kind",
    "inputs": [
        {"type": "message.input", "role": "user", "content": [{"type": "text", "text": "hi"}]},
        {"type": "message.output", "role": "assistant", "content": "well"},
        {"type": "function.call", "tool_call_id": "c", "name": "find", "arguments": {"q": "x"}},
        {"type": "function.result", "tool_call_id": "c", "result": "found"},
    ],
    "tools": [{"type": "function", "function": {"name": "find", "description": "finds"}}],
    "completion_args": {"temperature": 0.5, "random_seed": 3},
    "stream": True,
}
REPLY: dict[str, Any] = {
    "object": "conversation.response",
    "conversation_id": "conv",
    "outputs": [
        {"type": "tool.execution", "name": "web_search", "arguments": '{"query": "x"}', "info": {"result": "page"}},
        {
            "type": "message.output",
            "content": [{"type": "text", "text": "so"}, {"type": "tool_reference", "title": "t"}],
        },
        {"type": "function.call", "name": "find", "arguments": {"q": "x"}},
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 2},
}


def brief(text: Text) -> tuple[Any, ...]:
    return (text.value, text.stage.value, text.role, text.tool)


def test_a_call() -> None:
    read = CONVERSATIONS.read_call(CALL)
    assert (read.model, read.stream) == ("a", True)
    assert [brief(text) for text in read.texts] == [
        ("be kind", "prompt", "system", None),
        ("hi", "prompt", "user", None),
        ("well", "prompt", "assistant", None),
        ('{"q":"x"}', "tool_call", "assistant", "find"),
        ("found", "tool_result", "tool", None),
        ("finds", "prompt", "tool_definition", None),
    ]
    assert [text.value for text in CONVERSATIONS.read_call({"inputs": "hi"}).texts] == ["hi"]
    assert CONVERSATIONS.read_params(CALL) == Params(temperature=0.5, seed=3)


def test_a_reply() -> None:
    read = CONVERSATIONS.read_reply(REPLY)
    assert [brief(text) for text in read.texts] == [
        ('{"query": "x"}', "tool_call", "assistant", "web_search"),
        ("page", "tool_result", "tool", "web_search"),
        ("so", "response", "assistant", None),
        ("t", "response", "assistant", None),
        ('{"q":"x"}', "tool_call", "assistant", "find"),
    ]
    assert read.summary == Summary(id="conv", input_tokens=1, output_tokens=2)
    assert [text.value for text in CONVERSATIONS.read_reply({"answer": "x"}).texts] == ["x"]


def test_a_stream() -> None:
    reader = CONVERSATIONS.open_stream()
    call = {"type": "function.call.delta", "output_index": 1, "id": "i", "name": "find", "tool_call_id": "c"}
    events: list[tuple[dict[str, Any], list[tuple[Any, str]]]] = [
        ({"type": "conversation.response.started", "conversation_id": "conv"}, []),
        ({"type": "message.output.delta", "content": "a"}, [((0, 0, "content"), "a")]),
        (
            {"type": "message.output.delta", "content_index": 1, "content": {"type": "text", "text": "b"}},
            [((0, 1, "content", "text"), "b")],
        ),
        ({**call, "arguments": '{"'}, [((1, 0, "c", "arguments"), '{"')]),
        ({**call, "arguments": 'q": 1}'}, [((1, 0, "c", "arguments"), 'q": 1}')]),
    ]
    for data, expected in events:
        read = reader.read(data, data["type"])
        check_texts(data, read.texts)
        assert [(text.channel, text.value) for text in read.texts] == expected
    end = reader.read({"type": "conversation.response.done", "usage": {"prompt_tokens": 1}}, None)
    assert (end.terminal, end.summary) == (True, Summary(input_tokens=1))


def test_no_shape_makes_it_raise() -> None:
    for body in (CALL, REPLY):
        for wrong in spoilt(body):
            check_reads(CONVERSATIONS, wrong)
    rolled = random.Random(37)
    for output in REPLY["outputs"]:
        for wrong in spoilt({**output, "output_index": 1}):
            check_events(CONVERSATIONS, [(None, wrong)])
    for _ in range(300):
        check_reads(CONVERSATIONS, random_json(rolled))
        check_events(CONVERSATIONS, [(None, random_json(rolled))])


def test_its_paths() -> None:
    assert codec_for_path("/v1/fim/completions") is CHAT
    assert codec_for_path("/v1/agents/completions") is CHAT
    assert codec_for_path("/v1/conversations") is None
    for path in ("/v1/conversations", "/v1/conversations/c", "/v1/conversations/c/restart"):
        assert codec_for_path(path, spoken="mistral") is CONVERSATIONS


def test_filling_in_the_middle() -> None:
    texts = CHAT.read_call({"prompt": "def f(", "suffix": "return"}).texts
    assert [brief(text) for text in texts] == [
        ("def f(", "prompt", "user", None),
        ("return", "prompt", "user", None),
    ]


def test_thinking_comes_in_chunks() -> None:
    reader = CHAT.open_stream()

    def texts(content: Any) -> list[tuple[Any, str]]:
        data = {"choices": [{"index": 0, "delta": {"content": content}}]}
        return [(text.channel, text.value) for text in reader.read(data, None).texts]

    where = (0, "delta", "content", 0, "thinking", 0, "text")
    for piece in ("a", "b"):
        content = [{"type": "thinking", "thinking": [{"type": "text", "text": piece}]}]
        assert texts(content) == [(where, piece)]
    assert texts("c") == [((0, "delta", "content"), "c")]


def test_arguments_as_an_object_are_one_text_in_a_stream_as_well() -> None:
    function = {"name": "find", "arguments": {"q": "x"}}
    data = {"choices": [{"index": 0, "delta": {"tool_calls": [{"id": "c", "index": 0, "function": function}]}}]}
    (text,) = CHAT.open_stream().read(data, None).texts
    assert (brief(text), text.channel, text.structured) == (
        ('{"q":"x"}', "tool_call", "assistant", "find"),
        None,
        True,
    )
