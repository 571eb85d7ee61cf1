"""openai-threads: messages, runs and steps of the Assistants API, whole and in deltas."""

from __future__ import annotations

import random
from typing import Any

import pytest

from highflame_middleware.codecs import codec_for_path, load_codec
from highflame_middleware.codecs.parts import Path, Summary
from tests.codecs.shapes import check_events, check_reads, random_json, spoilt

THREADS = load_codec("openai-threads")

CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"up": "x"}'}}
MESSAGE = {
    "id": "msg_1",
    "object": "thread.message",
    "assistant_id": "asst_1",
    "role": "assistant",
    "content": [
        {
            "type": "text",
            "text": {
                "value": "so it is",
                "annotations": [
                    {"type": "file_citation", "text": "[1]", "file_citation": {"file_id": "f", "quote": "q"}}
                ],
            },
        },
        {"type": "image_file", "image_file": {"file_id": "f", "detail": "auto"}},
    ],
    "metadata": {},
}
RUN = {
    "id": "run_1",
    "object": "thread.run",
    "model": "m",
    "instructions": "said before",
    "required_action": {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": [CALL]}},
    "last_error": {"code": "server_error", "message": "it broke"},
    "usage": {"prompt_tokens": 3, "completion_tokens": 5},
}
STEP = {
    "id": "step_1",
    "object": "thread.run.step",
    "step_details": {
        "type": "tool_calls",
        "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}", "output": "seen"}},
            {
                "id": "d",
                "type": "code_interpreter",
                "code_interpreter": {"input": "print(1)", "outputs": [{"type": "logs", "logs": "1"}]},
            },
        ],
    },
}
CALLS: dict[str, tuple[Any, dict[Path, tuple[str, str, str]]]] = {
    "an assistant": (
        {
            "model": "m",
            "instructions": "x",
            "name": "n",
            "tools": [{"type": "function", "function": {"description": "d"}}],
        },
        {
            ("instructions",): ("x", "prompt", "system"),
            ("tools", 0, "function", "description"): ("d", "prompt", "tool_definition"),
        },
    ),
    "a message": (
        {
            "role": "user",
            "content": [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "u"}}],
        },
        {("content", 0, "text"): ("x", "prompt", "user")},
    ),
    "a thread": (
        {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]},
        {
            ("messages", 0, "content"): ("x", "prompt", "user"),
            ("messages", 1, "content"): ("y", "prompt", "assistant"),
        },
    ),
    "a run": (
        {
            "assistant_id": "a",
            "additional_instructions": "x",
            "additional_messages": [{"role": "user", "content": "y"}],
            "stream": True,
        },
        {
            ("additional_instructions",): ("x", "prompt", "system"),
            ("additional_messages", 0, "content"): ("y", "prompt", "user"),
        },
    ),
    "a thread and its run": (
        {"assistant_id": "a", "thread": {"messages": [{"role": "user", "content": "x"}]}},
        {("thread", "messages", 0, "content"): ("x", "prompt", "user")},
    ),
    "what tools gave back": (
        {"tool_outputs": [{"tool_call_id": "c", "output": "x"}]},
        {("tool_outputs", 0, "output"): ("x", "tool_result", "tool")},
    ),
    "nothing": (None, {}),
}


@pytest.mark.parametrize("name", CALLS)
def test_every_text_of_a_call(name: str) -> None:
    body, expected = CALLS[name]
    read = THREADS.read_call(body)
    assert {text.path: (text.value, text.stage.value, text.role) for text in read.texts} == expected


REPLIES: dict[str, tuple[Any, list[tuple[str, str, str | None]]]] = {
    "a message": (
        MESSAGE,
        [("so it is", "response", None), ("[1]", "response", None), ("q", "response", None)],
    ),
    "another's message": (
        {**MESSAGE, "role": "user", "content": [{"type": "text", "text": {"value": "x"}}]},
        [("x", "prompt", None)],
    ),
    "messages": (
        {"object": "list", "data": [{**MESSAGE, "content": [{"text": {"value": "x"}}]}]},
        [("x", "response", None)],
    ),
    "a run": (RUN, [('{"up": "x"}', "tool_call", "look"), ("it broke", "response", None)]),
    "a step": (
        STEP,
        [
            ("{}", "tool_call", "look"),
            ("seen", "tool_result", "look"),
            ("print(1)", "tool_call", "code_interpreter"),
            ("1", "tool_result", "code_interpreter"),
        ],
    ),
    "an assistant": ({"id": "a", "object": "assistant", "instructions": "said before"}, []),
    "what is gone": ({"id": "a", "object": "thread.deleted", "deleted": True}, []),
    "a shape never seen": ({"object": "thread.note", "note": "x"}, [("x", "response", None)]),
}


@pytest.mark.parametrize("name", REPLIES)
def test_every_text_of_a_reply(name: str) -> None:
    body, expected = REPLIES[name]
    assert [(text.value, text.stage.value, text.tool) for text in THREADS.read_reply(body).texts] == expected


def test_a_tool_that_is_called_with_nothing() -> None:
    bare = {"id": "c", "type": "function", "function": {"name": "go", "arguments": ""}}
    run = {**RUN, "last_error": None, "required_action": {"submit_tool_outputs": {"tool_calls": [bare]}}}
    (text,) = THREADS.read_reply(run).texts
    assert (text.value, text.stage.value, text.tool) == ("", "tool_call", "go")


def test_a_message_in_deltas() -> None:
    reader = THREADS.open_stream()

    def delta(value: str, index: int = 0) -> Any:
        content = [{"index": index, "type": "text", "text": {"value": value}}]
        return reader.read(
            {"id": "msg_1", "object": "thread.message.delta", "delta": {"content": content}}, "thread.message.delta"
        )

    texts = [delta("so "), delta("it is"), delta("x", 1)]
    channels = [read.texts[0].channel for read in texts]
    assert channels[0] == channels[1] != channels[2]
    done = reader.read(MESSAGE, "thread.message.completed")
    assert done.closes == (("msg_1",),)
    assert done.texts[0].channel is None
    assert all(channel[0] == "msg_1" for channel in channels if channel)


def test_a_call_in_deltas_keeps_its_name_and_ends_when_the_run_waits() -> None:
    reader = THREADS.open_stream()

    def delta(**function: str) -> Any:
        calls = [{"index": 0, "type": "function", "function": function}]
        said = {"step_details": {"type": "tool_calls", "tool_calls": calls}}
        return reader.read(
            {"id": "step_1", "object": "thread.run.step.delta", "delta": said}, "thread.run.step.delta"
        )

    first, second = delta(name="look", arguments='{"up'), delta(arguments='": "x"}')
    assert first.texts[0].channel == second.texts[0].channel is not None
    assert [read.texts[0].tool for read in (first, second)] == ["look", "look"]
    waits = reader.read(RUN, "thread.run.requires_action")
    assert waits.closes == ((),)
    assert (waits.texts[0].tool, waits.texts[0].channel) == ("look", None)
    assert waits.summary == Summary(id="run_1", model="m", input_tokens=3, output_tokens=5)


@pytest.mark.parametrize(
    ("method", "path", "operation"),
    [
        ("POST", "/assistants", "create_agent"),
        ("GET", "/assistants", None),
        ("POST", "/threads/t/runs", "invoke_agent"),
        ("POST", "/threads/runs", "invoke_agent"),
        ("POST", "/threads/t/runs/r/submit_tool_outputs", "invoke_agent"),
        ("POST", "/threads/t/runs/r/cancel", None),
        ("POST", "/threads/t/messages", None),
    ],
)
def test_what_a_call_does(method: str, path: str, operation: str | None) -> None:
    assert codec_for_path(f"/v1{path}", spoken="openai") is THREADS
    assert codec_for_path(f"/v1{path}") is None
    assert THREADS.operation_of(method, f"/v1{path}") == operation


def test_parameters() -> None:
    read = THREADS.read_params({"max_completion_tokens": 5, "temperature": 0.5, "top_p": 1})
    assert (read.max_tokens, read.temperature, read.top_p) == (5, 0.5, 1.0)
    assert THREADS.refuse("no")["last_error"]["message"] == "no"


def test_no_shape_makes_it_raise() -> None:
    names = ("thread.message.delta", "thread.run.requires_action", None)
    for whole in (MESSAGE, RUN, STEP):
        for body in spoilt(whole):
            check_reads(THREADS, body)
            check_events(THREADS, [(name, body) for name in names])
    rolled = random.Random(47)
    for _ in range(500):
        check_reads(THREADS, random_json(rolled))
        check_events(THREADS, [("thread.run.step.delta", random_json(rolled))])
