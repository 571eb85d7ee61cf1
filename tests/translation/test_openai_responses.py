"""openai-responses, read and written again: every shape that its providers have, and what others make of them."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from highflame_middleware.translation import UntranslatableError, load_translator, translate_call, translate_reply
from highflame_middleware.translation.conversation import (
    ArgumentsDelta,
    Ended,
    Finish,
    MediaPart,
    Opened,
    OtherPart,
    PartDelta,
    ReasoningDelta,
    ReasoningPart,
    TextDelta,
    TextPart,
    ToolCallOpened,
    ToolCallPart,
    Usage,
)

RESPONSES = load_translator("openai-responses")
CALL: Any = {
    "model": "gpt-5",
    "instructions": "Be brief.",
    "input": [
        {"role": "user", "content": "Hi"},
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Be kind."}]},
        {
            "type": "message",
            "role": "user",
            "content": [
                {"type": "input_text", "text": "Look", "prompt_cache_breakpoint": {"mode": "explicit"}},
                {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"},
                {"type": "input_image", "image_url": "https://example.com/a.png", "file_id": None},
                {"type": "input_image", "file_id": "file-1"},
                {"type": "input_file", "file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"},
                {"type": "input_file", "file_data": "AAAA", "filename": "a.pdf"},
                {"type": "input_file", "file_url": "https://example.com/a.pdf"},
                {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
                {"type": "input_hologram", "hologram": "AAAA"},
            ],
        },
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "One"}, {"type": "summary_text", "text": "Two"}],
            "content": [{"type": "reasoning_text", "text": "Three"}],
            "encrypted_content": "AAAA",
            "status": None,
        },
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "phase": "commentary",
            "content": [
                {"type": "output_text", "text": "Let me see", "annotations": [], "logprobs": []},
                {"type": "output_text", "text": "it", "annotations": []},
                {"type": "refusal", "refusal": "no"},
            ],
        },
        {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{", "status": None},
        {"type": "function_call_output", "call_id": "c1", "output": "found", "id": "o1"},
        {
            "type": "function_call_output",
            "call_id": "c2",
            "output": [{"type": "input_text", "text": "see"}, {"type": "input_image", "file_id": "file-1"}],
        },
        {"type": "custom_tool_call", "call_id": "c3", "name": "sql", "input": "select 1"},
        {"type": "custom_tool_call_output", "call_id": "c3", "output": "one row"},
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"query": "rain"}},
        {"type": "item_reference", "id": "msg_0"},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": []},
        {"role": "oracle", "content": "who?"},
        "a bare item",
    ],
    "tools": [
        {"type": "web_search", "search_context_size": "low"},
        {"type": "function", "name": "f", "description": "finds", "parameters": {"type": "object"}, "strict": True},
        {"type": "mcp", "server_label": "s"},
        {"type": "function", "name": "g", "parameters": None, "description": None, "defer_loading": True},
    ],
    "tool_choice": {"type": "function", "name": "f"},
    "parallel_tool_calls": False,
    "max_output_tokens": 10,
    "temperature": 0.5,
    "top_p": 1,
    "user": "u-1",
    "stream": False,
    "store": True,
    "include": ["reasoning.encrypted_content"],
    "reasoning": {"effort": "low", "summary": "auto"},
    "text": {
        "verbosity": "low",
        "format": {"type": "json_schema", "name": "a", "description": "it", "schema": {"type": "object"}},
    },
    "previous_response_id": "resp_0",
    "a field never seen": {"deep": ["kept"]},
}


def test_a_call_is_written_as_it_was_read() -> None:
    before = copy.deepcopy(CALL)
    read = RESPONSES.read_call(CALL, "/v1/responses")
    written = RESPONSES.write_call(read)
    assert written.body == before == CALL
    assert (written.path, written.dropped) == ("/responses", ())
    assert RESPONSES.read_call(written.body, written.path) == read


@pytest.mark.parametrize(
    "fields",
    [
        {"input": "Hi"},
        {"input": "Hi", "instructions": "Be brief."},
        {"input": ""},
        {"input": []},
        {"input": None, "instructions": None, "temperature": None},
        {"instructions": "only these"},
        {"input": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]},
        {"instructions": "a", "input": [{"role": "developer", "content": "b"}, {"role": "user", "content": "Hi"}]},
        {"input": "Hi", "text": {"format": {"type": "text"}}, "reasoning": {"effort": None}},
        {"input": "Hi", "text": {"format": {"type": "json_object"}}, "reasoning": {"effort": "low"}},
        {"input": "Hi", "tool_choice": {"type": "web_search"}, "tools": []},
        {"input": "Hi", "tool_choice": "required", "tools": [{"type": "function", "name": "f", "parameters": {}}]},
        {"input": "Hi", "previous_response_id": None, "conversation": "conv_1", "background": False},
        {"prompt": {"id": "pmpt_1", "variables": {"city": "Bern"}}},
    ],
)
def test_spellings_are_kept(fields: dict[str, Any]) -> None:
    body = {"model": "m", **fields}
    read = RESPONSES.read_call(body, "/responses")
    assert RESPONSES.write_call(read).body == body


def test_what_is_read_of_it() -> None:
    """The call is kept not because nothing of it was understood."""
    read = RESPONSES.read_call(CALL, "/v1/responses")
    assert [message.role for message in read.messages[:9]] == [
        "system", "user", "system", "user", "assistant", "assistant", "assistant", "tool", "tool",
    ]  # fmt: skip
    media = [part for part in read.messages[3].parts if isinstance(part, MediaPart)]
    assert [(part.kind, part.mime_type, part.data, part.url, part.file_id) for part in media] == [
        ("image", "image/png", "AAAA", None, None),
        ("image", None, None, "https://example.com/a.png", None),
        ("image", None, None, None, "file-1"),
        ("document", "application/pdf", "AAAA", None, None),
        ("document", None, "AAAA", None, None),
        ("document", None, None, "https://example.com/a.pdf", None),
        ("audio", "audio/wav", "AAAA", None, None),
    ]
    (thought,) = read.messages[4].parts
    assert isinstance(thought, ReasoningPart)
    assert (thought.text, thought.sealed) == ("One\n\nTwo", "AAAA")
    others = [part for message in read.messages for part in message.parts if isinstance(part, OtherPart)]
    kinds = [(part.value.get("item") or part.value.get("content")) for part in others]
    assert [kind.get("type") if isinstance(kind, dict) else None for kind in kinds] == [
        "input_hologram", "custom_tool_call", "custom_tool_call_output", "web_search_call", "item_reference",
        None, None,
    ]  # fmt: skip
    assert [tool.name for tool in read.tools] == ["f", "g"]
    assert (read.tool_choice, read.max_tokens, read.reasoning_effort, read.output_name) == (
        "tool:f",
        10,
        "low",
        "a",
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"previous_response_id": "secret words"},
        {"conversation": {"id": "secret words"}},
        {"prompt": {"id": "secret words"}},
        {"background": True},
        {"tools": [{"type": "web_search", "secret words": 1}]},
        {"input": [{"type": "item_reference", "id": "secret words"}]},
        {"input": [{"type": "custom_tool_call", "call_id": "c", "name": "f", "input": "secret words"}]},
        {"input": [{"role": "oracle", "content": "secret words"}]},
        {"input": [{"role": "user", "content": [{"type": "secret words", "text": "secret words"}]}]},
        {"input": ["secret words"]},
    ],
)
def test_what_others_cannot_say_is_refused(fields: dict[str, Any]) -> None:
    body = {"model": "m", "input": "Hi", **fields}
    with pytest.raises(UntranslatableError) as raised:
        translate_call(body, "/responses", "openai-responses", "openai-chat")
    assert "secret" not in str(raised.value)


def test_a_call_of_another_format_is_not_stored() -> None:
    body = {
        "model": "m",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "stream": True,
    }
    written = translate_call(body, "/chat/completions", "openai-chat", "openai-responses")
    assert written.body == {
        "model": "m",
        "instructions": "Be brief.",
        "input": [{"role": "user", "content": "Hi"}],
        # Here a tool is strict unless it is said not to be.
        "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": False}],
        "stream": True,
        "store": False,
    }


REPLY: Any = {
    "id": "resp_1",
    "object": "response",
    "created_at": 5,
    "status": "completed",
    "error": None,
    "incomplete_details": None,
    "instructions": "Be brief.",
    "model": "gpt-5",
    "output": [
        {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "AAAA"},
        {
            "id": "msg_1",
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [
                {"type": "output_text", "text": "Hello", "annotations": [{"type": "url_citation"}], "logprobs": []},
                {"type": "output_text", "text": " you", "annotations": []},
            ],
        },
        {"id": "msg_2", "type": "message", "status": "completed", "role": "assistant", "content": []},
        {
            "id": "msg_3",
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "!"}, {"type": "output_hologram"}],
        },
        {"id": "ws_1", "type": "web_search_call", "status": "completed"},
        {
            "id": "fc_1",
            "type": "function_call",
            "call_id": "c1",
            "name": "f",
            "arguments": "{}",
            "status": "completed",
        },
    ],
    "usage": {
        "input_tokens": 3,
        "input_tokens_details": {"cached_tokens": 2},
        "output_tokens": 4,
        "output_tokens_details": {"reasoning_tokens": 1},
        "total_tokens": 7,
    },
    "metadata": {},
}


def test_a_reply_is_written_as_it_was_read() -> None:
    before = copy.deepcopy(REPLY)
    read = RESPONSES.read_reply(REPLY)
    assert RESPONSES.write_reply(read) == before == REPLY
    assert read.usage == Usage(input=3, output=4, cache_read=2, reasoning=1)
    assert [type(part) for part in read.parts] == [
        ReasoningPart, TextPart, TextPart, OtherPart, TextPart, OtherPart, OtherPart, ToolCallPart,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "finish"),
    [
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, "length"),
        ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, "content_filter"),
        ({"status": "failed", "error": {"code": "server_error", "message": "it broke"}}, "error"),
        ({"status": "cancelled"}, "error"),
        ({"status": "queued"}, None),
        ({"status": "completed"}, "stop"),
        ({}, "stop"),
    ],
)
def test_how_a_response_ends(fields: dict[str, Any], finish: str | None) -> None:
    body = {"id": "r", "output": [], **fields}
    read = RESPONSES.read_reply(body)
    assert read.finish == finish
    assert RESPONSES.write_reply(read) == body


def test_items_that_only_this_format_has_are_not_lost() -> None:
    with pytest.raises(UntranslatableError):
        translate_reply(REPLY, "openai-responses", "openai-chat")


@pytest.mark.parametrize("body", [None, {}, {"output": "secret words"}, {"error": {"message": "secret words"}}])
def test_what_is_no_reply_is_refused(body: Any) -> None:
    with pytest.raises(UntranslatableError) as raised:
        RESPONSES.read_reply(body)
    assert "secret" not in str(raised.value)


def read(*events: Any) -> list[Any]:
    reader = RESPONSES.read_stream()
    return [delta for data in events for delta in reader.read(data, None)] + [*reader.finish()]


def test_a_stream_that_says_things_only_whole() -> None:
    """What did not come in pieces is read where it comes whole, and once."""
    search = {"id": "ws_1", "type": "web_search_call", "status": "completed"}
    items = [
        {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm"}]},
        {"id": "m", "type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi"}]},
        search,
        {"id": "fc", "type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
    ]
    done = [
        {"type": "response.output_item.done", "output_index": place, "item": item}
        for place, item in enumerate(items)
    ]
    response = {"id": "r", "model": "m", "status": "completed", "output": items}
    created = {"type": "response.created", "response": {**response, "status": "in_progress", "output": []}}
    completed = {"type": "response.completed", "response": response}
    expected = [
        Opened(id="r", model="m"),
        ReasoningDelta("Hm"),
        TextDelta("Hi"),
        PartDelta(OtherPart(format="openai-responses", value={"item": search})),
        ToolCallOpened(0, "c", "f"),
        ArgumentsDelta(0, "{}"),
        Finish("tool_calls"),
        Ended(),
    ]
    assert read(created, *done, completed) == expected
    assert read(completed) == expected
    assert read(created, completed, completed) == expected


def test_sealed_thoughts_come_with_the_end_of_their_item() -> None:
    item = {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "One\n\nTwo"}]}
    kind = "response.reasoning_summary"
    deltas = read(
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "summary": []}},
        {"type": f"{kind}_part.added", "output_index": 0, "summary_index": 0},
        {"type": f"{kind}_text.delta", "output_index": 0, "summary_index": 0, "delta": "One"},
        {"type": f"{kind}_part.added", "output_index": 0, "summary_index": 1},
        {"type": f"{kind}_text.delta", "output_index": 0, "summary_index": 1, "delta": "Two"},
        {"type": "response.output_item.done", "output_index": 0, "item": {**item, "encrypted_content": "AAAA"}},
    )
    assert deltas == [
        ReasoningDelta("One"),
        ReasoningDelta("\n\n"),
        ReasoningDelta("Two"),
        ReasoningDelta(sealed="AAAA"),
        Ended(error="the stream broke off"),
    ]
    writer = RESPONSES.write_stream("m")
    events = [event for delta in (*deltas[:-1], Finish("stop"), Ended()) for event in writer.write(delta)]
    (written,) = [data["item"] for name, data in events if name == "response.output_item.done"]
    assert written["encrypted_content"] == "AAAA"
    assert written["summary"] == item["summary"]
    assert events[-1][1]["response"]["output"] == [written]


@pytest.mark.parametrize(
    "event",
    [
        {"type": "error", "code": "overloaded", "message": "try later"},
        {"type": "error", "error": {"message": "try later"}},
        {"error": {"message": "try later"}},
        {"type": "response.failed", "response": {"status": "failed", "error": {"message": "try later"}}},
    ],
)
def test_errors_end_a_stream(event: Any) -> None:
    *_, last = read(event)
    assert last == Ended(error="try later")


def test_a_stream_goes_on_only_with_calls_that_began() -> None:
    with pytest.raises(UntranslatableError):
        RESPONSES.write_stream("m").write(ArgumentsDelta(3, "{}"))
