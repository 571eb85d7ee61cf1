"""openai-chat, read and written again: every shape that its providers have, and what others make of them."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from highflame_middleware.translation import UntranslatableError, load_translator, translate_call, translate_reply
from highflame_middleware.translation.conversation import (
    Ended,
    Finish,
    MediaPart,
    Opened,
    OtherPart,
    ReasoningDelta,
    TextDelta,
    ToolCallOpened,
    ToolCallPart,
    ToolResultPart,
    Usage,
)
from tests.servers import chunk

CHAT = load_translator("openai-chat")
CALL: Any = {
    "model": "gpt-5",
    "messages": [
        {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "system", "content": "Be kind.", "name": "operator"},
        {
            "role": "user",
            "name": "anna",
            "content": [
                {"type": "text", "text": "Look", "cache_control": {"type": "ephemeral"}},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
                {"type": "image_url", "image_url": "https://example.com/b.png"},
                {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
                {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"}},
                {"type": "file", "file": {"file_id": "file-1"}},
                {"type": "file", "file": {"file_data": "https://example.com/a.pdf", "filename": "a.pdf"}},
                {"type": "video_url", "video_url": {"url": "https://example.com/a.mp4"}},
                "bare",
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "refusal": None,
            "reasoning_content": "Let me think",
            "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "find", "arguments": '{"q": 1}'}},
                {"id": "call_2", "type": "custom", "custom": {"name": "sql", "input": "select 1"}},
                {"id": "call_3", "function": {"name": "stop", "arguments": ""}, "index": 2},
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "found", "name": "find"},
        {"role": "tool", "tool_call_id": "call_3", "content": [{"type": "text", "text": "one row"}]},
        {"role": "assistant", "content": "", "function_call": {"name": "old", "arguments": "{}"}},
        {"role": "function", "name": "old", "content": "old result"},
        {
            "role": "assistant",
            "content": "done",
            "refusal": "I will not",
            "audio": {"id": "audio_1"},
            "prefix": True,
        },
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
        {"role": "assistant", "content": "two in a row", "prefix": True},
        {"role": "user", "content": []},
        {"role": "oracle", "content": "who?"},
        "a bare message",
    ],
    "tools": [
        {
            "type": "function",
            "function": {"name": "find", "description": "finds", "parameters": {"type": "object"}, "strict": True},
        },
        {"type": "function", "function": {"name": "stop"}, "cache_control": {"type": "ephemeral"}},
        {"type": "custom", "custom": {"name": "sql"}},
    ],
    "functions": [{"name": "old", "parameters": {"type": "object"}}],
    "tool_choice": {"type": "function", "function": {"name": "find"}},
    "parallel_tool_calls": False,
    "max_tokens": 10,
    "temperature": 0.5,
    "top_p": 1,
    "top_k": None,
    "seed": 7,
    "n": 2,
    "stop": "END",
    "user": "u-1",
    "stream": False,
    "logit_bias": {"50256": -100},
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "answer", "description": "it", "schema": {"type": "object"}, "strict": True},
    },
    "a field never seen": {"deep": ["kept"]},
}


def test_a_call_is_written_as_it_was_read() -> None:
    before = copy.deepcopy(CALL)
    read = CHAT.read_call(CALL, "/v1/chat/completions")
    written = CHAT.write_call(read)
    assert written.body == before == CALL
    assert (written.path, written.dropped) == ("/chat/completions", ())
    assert CHAT.read_call(written.body, written.path) == read


@pytest.mark.parametrize(
    "fields",
    [
        {"stop": ["A", "B"]},
        {"max_completion_tokens": 5},
        {"max_completion_tokens": 5, "max_tokens": 6},
        {"max_tokens": None, "temperature": None, "stop": None, "response_format": None, "tools": None},
        {"tool_choice": "any"},
        {"tool_choice": "auto", "function_call": "none"},
        {"function_call": {"name": "old"}},
        {"tools": [], "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto"}}},
        {"response_format": {"type": "json_object"}},
        {"response_format": {"type": "text"}},
        {"n": 1, "stream": True, "stream_options": {"include_usage": False}},
        {"web_search_options": {}, "modalities": ["text", "audio"], "audio": {"voice": "ash"}},
        {"messages": []},
        {"messages": None, "prompt": "def f(", "suffix": ")"},
    ],
)
def test_spellings_are_kept(fields: dict[str, Any]) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields}
    read = CHAT.read_call(body, "/chat/completions")
    assert CHAT.write_call(read).body == body


def test_what_is_read_of_it() -> None:
    """The call is kept not because nothing of it was understood."""
    read = CHAT.read_call(CALL, "/v1/chat/completions")
    assert [message.role for message in read.messages[:8]] == [
        "system", "system", "user", "assistant", "tool", "tool", "assistant", "tool",
    ]  # fmt: skip
    media = [part for part in read.messages[2].parts if isinstance(part, MediaPart)]
    assert [(part.kind, part.mime_type, part.data, part.url, part.file_id) for part in media] == [
        ("image", "image/png", "AAAA", None, None),
        ("image", None, None, "https://example.com/a.png", None),
        ("image", None, None, "https://example.com/b.png", None),
        ("audio", "audio/mpeg", "AAAA", None, None),
        ("document", "application/pdf", "AAAA", None, None),
        ("document", None, None, None, "file-1"),
        ("document", None, None, "https://example.com/a.pdf", None),
    ]
    calls = [part for message in read.messages for part in message.parts if isinstance(part, ToolCallPart)]
    assert [(call.id, call.name) for call in calls] == [("call_1", "find"), ("call_3", "stop"), ("call_0", "old")]
    results = [part for message in read.messages for part in message.parts if isinstance(part, ToolResultPart)]
    assert [result.call_id for result in results] == ["call_1", "call_3", "call_0"]
    assert [tool.name for tool in read.tools] == ["find", "stop", "old"]
    assert (read.tool_choice, read.max_tokens, read.stop, read.output_name) == ("tool:find", 10, ("END",), "answer")


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 2},
        {"web_search_options": {"search_context_size": "low"}},
        {"modalities": ["text", "audio"], "audio": {"voice": "ash"}},
        {"prompt": "def f("},
        {"tools": [{"type": "custom", "custom": {"name": "sql"}}]},
        {"messages": [{"role": "oracle", "content": "secret words"}]},
        {"messages": [{"role": "user", "content": [{"type": "video_url", "video_url": {"url": "secret words"}}]}]},
        {"messages": [{"role": "user", "content": {"secret words": 1}}]},
        {"messages": [{"role": "assistant", "content": None, "audio": {"id": "secret words"}}]},
        {"messages": [{"role": "assistant", "tool_calls": [{"id": "1", "type": "custom", "custom": {}}]}]},
    ],
)
def test_what_others_cannot_say_is_refused(fields: dict[str, Any]) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **fields}
    with pytest.raises(UntranslatableError) as raised:
        translate_call(body, "/chat/completions", "openai-chat", "openai-responses")
    assert "secret" not in str(raised.value)


def test_what_others_do_without_is_named() -> None:
    body = {
        "model": "m",
        "messages": [
            {"role": "user", "name": "anna", "content": [{"type": "text", "text": "Hi", "cache_control": {}}]}
        ],
        "logprobs": True,
        "top_k": None,
        "seed": 1,
        "n": 1,
        "stream": False,
    }
    written = translate_call(body, "/chat/completions", "openai-chat", "openai-responses")
    assert written.dropped == ("seed", "logprobs", "messages.cache_control", "messages.name")
    assert written.body == {"model": "m", "input": [{"role": "user", "content": "Hi"}], "store": False}


def test_the_model_of_a_deployment_is_in_the_path() -> None:
    body = {"messages": [{"role": "user", "content": "Hi"}]}
    read = CHAT.read_call(body, "/openai/deployments/gpt-4o/chat/completions")
    assert read.model == "gpt-4o"
    assert CHAT.write_call(read).body == body


REPLY: Any = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 5,
    "model": "gpt-5",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "Hello",
                "refusal": None,
                "reasoning": "They greet",
                "reasoning_details": [{"type": "reasoning.text"}],
                "annotations": [],
                "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
            "logprobs": None,
            "finish_reason": "tool_calls",
            "content_filter_results": {},
        },
        {"index": 1, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"},
    ],
    "usage": {
        "prompt_tokens": 3,
        "completion_tokens": 4,
        "total_tokens": 9,
        "prompt_tokens_details": {"cached_tokens": 2, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 1, "audio_tokens": 0},
    },
    "system_fingerprint": None,
}


def test_a_reply_is_written_as_it_was_read() -> None:
    before = copy.deepcopy(REPLY)
    read = CHAT.read_reply(REPLY)
    assert CHAT.write_reply(read) == before == REPLY
    assert read.usage == Usage(input=3, output=4, cache_read=2, reasoning=1)
    assert isinstance(read.parts[-1], OtherPart)


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "content": "", "refusal": "no"},
        {"role": "assistant"},
        {"content": "no role"},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": []}, {"type": "text", "text": "a"}]},
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "assistant", "content": "a", "reasoning_content": "", "reasoning": None, "tool_calls": None},
        {"role": "assistant", "content": "a", "name": "b"},
    ],
)
def test_messages_of_replies_are_kept(message: dict[str, Any]) -> None:
    reply = {"choices": [{"index": 0, "message": message, "finish_reason": "eos"}]}
    written = CHAT.write_reply(CHAT.read_reply(reply))
    assert written == {"choices": [{**reply["choices"][0], "message": {"role": "assistant", **message}}]}


def test_choices_beyond_the_first_are_not_lost() -> None:
    with pytest.raises(UntranslatableError):
        translate_reply(REPLY, "openai-chat", "openai-responses")


@pytest.mark.parametrize(
    "body", [None, {}, {"error": {"message": "secret words"}}, {"choices": []}, {"choices": [1]}]
)
def test_what_is_no_reply_is_refused(body: Any) -> None:
    with pytest.raises(UntranslatableError) as raised:
        CHAT.read_reply(body)
    assert "secret" not in str(raised.value)


def test_calls_made_at_once_stand_in_one_message() -> None:
    """Else their results would not be found: an API of items has each by itself."""
    items = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Let me see."},
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "b", "name": "g", "arguments": "{}"},
        {"role": "assistant", "content": "Both."},
        {"type": "function_call_output", "call_id": "b", "output": "B"},
        {"type": "function_call_output", "call_id": "a", "output": "A"},
        {"role": "assistant", "content": "One."},
        {"role": "assistant", "content": "Two."},
    ]
    body = translate_call({"model": "m", "input": items}, "/responses", "openai-responses", "openai-chat").body
    calls = [
        {"id": identity, "type": "function", "function": {"name": name, "arguments": "{}"}}
        for identity, name in (("a", "f"), ("b", "g"))
    ]
    assert body["messages"] == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": said("Let me see.", "Both."), "tool_calls": calls},
        {"role": "tool", "tool_call_id": "b", "content": "B"},
        {"role": "tool", "tool_call_id": "a", "content": "A"},
        {"role": "assistant", "content": said("One.", "Two.")},
    ]


def said(*texts: str) -> list[Any]:
    return [{"type": "text", "text": text} for text in texts]


def read(*chunks: Any) -> list[Any]:
    reader = CHAT.read_stream()
    return [delta for data in chunks for delta in reader.read(data, None)] + [*reader.finish()]


def called(*calls: Any) -> dict[str, Any]:
    return chunk(tool_calls=list(calls))


def test_calls_that_are_not_numbered() -> None:
    first = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    second = {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}}
    for chunks in (
        [called(first), called(second)],
        [called(first, second)],
        [called({**first, "index": 0}, {**second, "index": 0})],
    ):
        deltas = read(*chunks, chunk(finish="tool_calls"))
        opened = [delta for delta in deltas if isinstance(delta, ToolCallOpened)]
        assert opened == [ToolCallOpened(0, "a", "f"), ToolCallOpened(1, "b", "g")]


def test_thoughts_and_usage_as_providers_stream_them() -> None:
    thinking = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}, {"type": "text", "text": "Hi"}]
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    for data in (
        {"reasoning": "Hm", "content": "Hi"},
        {"reasoning_content": "Hm", "content": "Hi"},
        {"content": thinking},
    ):
        deltas = read(chunk(**data), {**chunk(finish="stop"), "usage": usage})
        assert deltas == [
            Opened(id="c1", model="m"),
            ReasoningDelta("Hm"),
            TextDelta("Hi"),
            Finish("stop"),
            Ended(usage=Usage(input=3, output=4)),
        ]


def test_a_stream_of_several_choices_is_refused() -> None:
    with pytest.raises(UntranslatableError):
        read(chunk("a"), chunk("b", index=1))


def test_a_stream_that_fails_after_it_has_finished() -> None:
    """As some providers do who come to a limit: the reason was said, and is."""
    writer = CHAT.write_stream("m")
    deltas = (Opened(id="r"), TextDelta("Hi"), Finish("length"), Ended(error="token limit"))
    events = [data for delta in deltas for _, data in writer.write(delta)]
    assert events[-2]["choices"][0]["finish_reason"] == "length"
    assert events[-1]["error"]["message"] == "token limit"
    assert read(*events) == [Opened(id="r", model="m"), *deltas[1:]]


def test_usage_is_asked_for_where_others_give_it_unasked() -> None:
    call = {"model": "m", "input": "Hi", "stream": True}
    body = translate_call(call, "/responses", "openai-responses", "openai-chat").body
    assert body["stream_options"] == {"include_usage": True}


def test_files_that_a_provider_keeps_go_to_no_other() -> None:
    file = {"type": "document", "source": {"type": "file", "file_id": "file-1"}}
    body = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": [file]}]}
    for target in ("openai-chat", "openai-responses"):
        with pytest.raises(UntranslatableError):
            translate_call(body, "/v1/messages", "anthropic-messages", target)
    same = [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}]
    kept = translate_call({"messages": same}, "/chat/completions", "openai-chat", "openai-responses").body
    assert kept["input"][0]["content"] == [{"type": "input_file", "file_id": "file-1"}]
