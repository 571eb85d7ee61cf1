"""openai-responses: items in, items out, and a stream that says everything twice or more."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest

from highflame_middleware.codecs import load_codec
from highflame_middleware.codecs.parts import Params, Path, Summary, Text, rewrite
from tests.codecs.shapes import at, check_events, check_reads, random_json, spoilt

RESPONSES = load_codec("openai-responses")

Found = tuple[str, str, str | None, bool]


def brief(text: Text) -> Found:
    return (text.stage.value, text.role, text.tool, text.is_json)


# Items as they stand in an input or an output: each text's place below the item, and what it is.
ITEMS: dict[str, tuple[dict[str, Any], dict[Path, Found]]] = {
    "a message": (
        {"role": "user", "content": "x"},
        {("content",): ("{stage}", "user", None, False)},
    ),
    "a message in parts": (
        {
            "type": "message",
            "id": "msg_1",
            "status": "completed",
            "role": "assistant",
            "phase": "final",
            "content": [
                {"type": "output_text", "text": "x", "annotations": [{"type": "file_citation", "file_id": "f"}]},
                {"type": "refusal", "refusal": "y"},
                {"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "low"},
                {"type": "input_file", "file_data": "AA", "filename": "a.pdf", "file_id": "f"},
            ],
        },
        {
            ("content", 0, "text"): ("{stage}", "assistant", None, False),
            ("content", 1, "refusal"): ("{stage}", "assistant", None, False),
        },
    ),
    "reasoning": (
        {
            "type": "reasoning",
            "id": "rs_1",
            "encrypted_content": "AAAA",
            "summary": [{"type": "summary_text", "text": "x"}],
            "content": [{"type": "reasoning_text", "text": "y"}],
        },
        {
            ("summary", 0, "text"): ("{stage}", "assistant", None, False),
            ("content", 0, "text"): ("{stage}", "assistant", None, False),
        },
    ),
    "a function call": (
        {
            "type": "function_call",
            "id": "fc",
            "call_id": "c",
            "name": "f",
            "arguments": '{"a": 1}',
            "status": "completed",
        },
        {("arguments",): ("tool_call", "assistant", "f", True)},
    ),
    "a function call with nothing": (
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": ""},
        {("arguments",): ("tool_call", "assistant", "f", False)},
    ),
    "a call without arguments": (
        {"type": "mcp_call", "id": "m", "name": "f", "server_label": "s", "arguments": None, "output": "x"},
        {
            ("output",): ("tool_result", "tool", "f", False),
            ("arguments",): ("tool_call", "assistant", "f", False),
        },
    ),
    "an MCP call that failed": (
        {"type": "mcp_call", "id": "m", "name": "f", "server_label": "s", "arguments": "{}", "error": "x"},
        {
            ("arguments",): ("tool_call", "assistant", "f", True),
            ("error",): ("tool_result", "tool", "f", False),
        },
    ),
    "a function's output": (
        {"type": "function_call_output", "call_id": "c", "output": "x"},
        {("output",): ("tool_result", "tool", "function_call_output", False)},
    ),
    "a function's output in parts": (
        {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "x"}]},
        {("output", 0, "text"): ("tool_result", "tool", "function_call_output", False)},
    ),
    "a custom tool": (
        {"type": "custom_tool_call", "call_id": "c", "name": "sql", "input": "select 1"},
        {("input",): ("tool_call", "assistant", "sql", False)},
    ),
    "arguments that are an object": (
        {"type": "tool_search_call", "call_id": "c", "arguments": {"name": "x", "id": "y", "logprobs": "z"}},
        {
            ("arguments", "name"): ("tool_call", "assistant", "tool_search_call", False),
            ("arguments", "id"): ("tool_call", "assistant", "tool_search_call", False),
            ("arguments", "logprobs"): ("tool_call", "assistant", "tool_search_call", False),
        },
    ),
    "code": (
        {
            "type": "code_interpreter_call",
            "id": "ci",
            "container_id": "cntr",
            "code": "print(1)",
            "outputs": [{"type": "logs", "logs": "1"}],
        },
        {
            ("code",): ("tool_call", "assistant", "code_interpreter_call", False),
            ("outputs", 0, "logs"): ("tool_result", "tool", "code_interpreter_call", False),
        },
    ),
    "a web search": (
        {"type": "web_search_call", "id": "ws", "action": {"type": "search", "query": "x"}},
        {("action", "query"): ("tool_call", "assistant", "web_search_call", False)},
    ),
    "a file search": (
        {
            "type": "file_search_call",
            "id": "fs",
            "queries": ["x"],
            "results": [{"file_id": "f", "filename": "a.txt", "score": 0.5, "text": "y"}],
        },
        {
            ("queries", 0): ("tool_call", "assistant", "file_search_call", False),
            ("results", 0, "text"): ("tool_result", "tool", "file_search_call", False),
        },
    ),
    "a shell": (
        {"type": "shell_call", "call_id": "c", "action": {"commands": ["ls", "rm -rf /"], "timeout_ms": 1}},
        {
            ("action", "commands", 0): ("tool_call", "assistant", "shell_call", False),
            ("action", "commands", 1): ("tool_call", "assistant", "shell_call", False),
        },
    ),
    "a shell's output": (
        {
            "type": "shell_call_output",
            "call_id": "c",
            "output": [{"stdout": "x", "stderr": "y", "outcome": {"type": "exit"}}],
        },
        {
            ("output", 0, "stdout"): ("tool_result", "tool", "shell_call_output", False),
            ("output", 0, "stderr"): ("tool_result", "tool", "shell_call_output", False),
        },
    ),
    "a patch": (
        {
            "type": "apply_patch_call",
            "call_id": "c",
            "operation": {"type": "update_file", "path": "x", "diff": "y"},
        },
        {
            ("operation", "path"): ("tool_call", "assistant", "apply_patch_call", False),
            ("operation", "diff"): ("tool_call", "assistant", "apply_patch_call", False),
        },
    ),
    "a click": (
        {"type": "computer_call", "call_id": "c", "action": {"type": "click", "x": 1, "y": 2}},
        {("arguments",): ("tool_call", "assistant", "computer_call", False)},
    ),
    "a picture": (
        {"type": "image_generation_call", "id": "ig", "result": "iVBORw0KGgo=", "revised_prompt": "a cat"},
        {("arguments",): ("tool_call", "assistant", "image_generation_call", False)},
    ),
    "a compaction": ({"type": "compaction", "id": "cmp", "encrypted_content": "AAAA"}, {}),
    "tools that a server lists": (
        {
            "type": "mcp_list_tools",
            "server_label": "s",
            "tools": [{"name": "f", "description": "x", "input_schema": {}}],
        },
        {("tools", 0, "description"): ("prompt", "tool_definition", None, False)},
    ),
    "a request for approval": (
        {"type": "mcp_approval_request", "id": "a", "name": "f", "server_label": "s", "arguments": "{}"},
        {("arguments",): ("tool_call", "assistant", "f", True)},
    ),
    "an item never seen": (
        {"type": "new_item", "id": "n", "deep": {"er": ["x"]}},
        {("deep", "er", 0): ("{stage}", "{role}", None, False)},
    ),
}


def expected_of(name: str, stage: str, role: str, base: Path) -> dict[Path, Found]:
    filled = {"{stage}": stage, "{role}": role}
    return {
        (*base, *path): (filled.get(found[0], found[0]), filled.get(found[1], found[1]), found[2], found[3])
        for path, found in ITEMS[name][1].items()
    }


@pytest.mark.parametrize("name", ITEMS)
def test_every_text_of_an_item_in_an_output(name: str) -> None:
    item = ITEMS[name][0]
    for key in ("output", "data"):
        read = RESPONSES.read_reply({key: [{"type": "compaction"}, item]})
        expected = expected_of(name, "response", "assistant", (key, 1))
        assert {text.path: brief(text) for text in read.texts} == expected


@pytest.mark.parametrize("name", ITEMS)
def test_every_text_of_an_item_in_an_input(name: str) -> None:
    read = RESPONSES.read_call({"model": "m", "input": [ITEMS[name][0]]})
    assert {text.path: brief(text) for text in read.texts} == expected_of(name, "prompt", "user", ("input", 0))


@pytest.mark.parametrize("name", ITEMS)
def test_an_edit_keeps_every_other_field(name: str) -> None:
    body = {"output": [ITEMS[name][0]], "more": {"x": 1}}
    before = copy.deepcopy(body)
    texts = [text for text in RESPONSES.read_reply(body).texts if text.value]
    edited = rewrite(body, {text.path: "#" for text in texts})
    assert all(at(edited, text.path) == "#" for text in texts)
    assert rewrite(edited, {text.path: text.value for text in texts}) == before


CALLS: dict[str, tuple[Any, dict[Path, Found]]] = {
    "a string": ({"input": "x"}, {("input",): ("prompt", "user", None, False)}),
    "instructions": (
        {"instructions": "x", "input": "y"},
        {("instructions",): ("prompt", "system", None, False), ("input",): ("prompt", "user", None, False)},
    ),
    "instructions as items": (
        {"instructions": [{"role": "developer", "content": "x"}]},
        {("instructions", 0, "content"): ("prompt", "developer", None, False)},
    ),
    "strings in a list": (
        {"input": ["x", "y"]},
        {("input", 0): ("prompt", "user", None, False), ("input", 1): ("prompt", "user", None, False)},
    ),
    "one item alone": ({"input": {"question": "x"}}, {("input", "question"): ("prompt", "user", None, False)}),
    "variables, whatever their names": (
        {
            "prompt": {
                "id": "pmpt_1",
                "variables": {"name": "x", "data": "y", "id": "z", "doc": {"type": "input_text", "text": "w"}},
            }
        },
        {
            ("prompt", "variables", "name"): ("prompt", "user", None, False),
            ("prompt", "variables", "data"): ("prompt", "user", None, False),
            ("prompt", "variables", "id"): ("prompt", "user", None, False),
            ("prompt", "variables", "doc", "text"): ("prompt", "user", None, False),
        },
    ),
    "tools": (
        {
            "tools": [
                {
                    "type": "function",
                    "name": "f",
                    "description": "x",
                    "parameters": {"properties": {"a": {"description": "y"}}},
                },
                {"type": "mcp", "server_label": "s", "server_description": "z", "server_url": "https://x"},
            ]
        },
        {
            ("tools", 0, "description"): ("prompt", "tool_definition", None, False),
            ("tools", 0, "parameters", "properties", "a", "description"): (
                "prompt",
                "tool_definition",
                None,
                False,
            ),
            ("tools", 1, "server_description"): ("prompt", "tool_definition", None, False),
        },
    ),
    "an answer's schema": (
        {
            "text": {
                "format": {"type": "json_schema", "name": "a", "description": "x", "schema": {"description": "y"}}
            }
        },
        {
            ("text", "format", "description"): ("prompt", "tool_definition", None, False),
            ("text", "format", "schema", "description"): ("prompt", "tool_definition", None, False),
        },
    ),
    "what is no text to the model": (
        {"model": "m", "metadata": {"a": "x"}, "user": "u", "previous_response_id": "r", "include": ["x"]},
        {},
    ),
    "nothing": (None, {}),
}


@pytest.mark.parametrize("name", CALLS)
def test_every_text_of_a_call(name: str) -> None:
    body, expected = CALLS[name]
    assert {text.path: brief(text) for text in RESPONSES.read_call(body).texts} == expected


REPLIES: dict[str, tuple[Any, dict[Path, str]]] = {
    "the text that some servers repeat": (
        {"output": [{"content": [{"type": "output_text", "text": "x"}]}], "output_text": "x"},
        {("output", 0, "content", 0, "text"): "x", ("output_text",): "x"},
    ),
    "no response at all": ({"object": "answer", "answer": {"data": "x"}}, {("answer", "data"): "x"}),
    "a string": ("x", {(): "x"}),
    "a list": (["x"], {(0,): "x"}),
    "deleted": ({"id": "r", "object": "response", "deleted": True}, {}),
    "what the call said again": ({"output": [], "instructions": "x", "metadata": {"a": "y"}}, {}),
}


@pytest.mark.parametrize("name", REPLIES)
def test_every_text_of_a_reply(name: str) -> None:
    body, expected = REPLIES[name]
    assert {text.path: text.value for text in RESPONSES.read_reply(body).texts} == expected


def test_log_probabilities_go_with_the_text_that_they_spell_out() -> None:
    part = {"type": "output_text", "text": "x", "logprobs": [{"token": "x"}]}
    (text,) = RESPONSES.read_reply({"output": [{"type": "message", "content": [part]}]}).texts
    assert text.shadows == (("output", 0, "content", 0, "logprobs"),)
    (text,) = RESPONSES.read_reply({"output": [{"type": "message", "content": [{**part, "logprobs": []}]}]}).texts
    assert text.shadows == ()


RESPONSE = {
    "id": "resp_1",
    "model": "gpt-5",
    "status": "completed",
    "service_tier": "default",
    "output": [],
    "usage": {
        "input_tokens": 11,
        "output_tokens": 7,
        "input_tokens_details": {"cached_tokens": 3},
        "output_tokens_details": {"reasoning_tokens": 2},
    },
}
SUMMARY = Summary(
    id="resp_1",
    model="gpt-5",
    finish_reasons=("completed",),
    input_tokens=11,
    output_tokens=7,
    cached_tokens=3,
    reasoning_tokens=2,
    service_tier="default",
)


def test_what_a_reply_says_of_itself() -> None:
    assert RESPONSES.read_reply(RESPONSE).summary == SUMMARY
    event = {"type": "response.completed", "response": RESPONSE}
    assert RESPONSES.open_stream().read(event, None).summary == SUMMARY
    cut = {**RESPONSE, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    assert RESPONSES.read_reply(cut).summary.finish_reasons == ("max_output_tokens",)
    assert RESPONSES.read_reply({**RESPONSE, "status": "in_progress"}).summary.finish_reasons == ()


PARAMS: dict[str, tuple[Any, Params]] = {
    "none": ({}, Params()),
    "all": (
        {"max_output_tokens": 5, "temperature": 1, "top_p": 0.5, "service_tier": "flex", "conversation": "conv_1"},
        Params(max_tokens=5, temperature=1.0, top_p=0.5, service_tier="flex", conversation_id="conv_1"),
    ),
    "JSON": ({"text": {"format": {"type": "json_schema"}}}, Params(output_type="json")),
    "text": ({"text": {"format": {"type": "text"}}}, Params(output_type="text")),
    "a conversation as an object": ({"conversation": {"id": "conv_1"}}, Params(conversation_id="conv_1")),
    "of wrong types": ({"max_output_tokens": True, "temperature": "1", "text": [], "conversation": 5}, Params()),
}


@pytest.mark.parametrize("name", PARAMS)
def test_parameters(name: str) -> None:
    body, expected = PARAMS[name]
    assert RESPONSES.read_params(body) == expected


# ------------------------------------------------------------------------------------------------- no and never


def test_a_refusal_is_read_as_one() -> None:
    read = RESPONSES.read_reply(RESPONSES.refuse("Blocked: x"))
    assert [(text.path[-1], text.value) for text in read.texts] == [("refusal", "Blocked: x")]
    assert read.summary.finish_reasons == ("completed",)


def test_a_failure_is_an_event_of_this_api() -> None:
    name, data = RESPONSES.fail("x", "c")
    assert (name, data["type"], data["code"], data["message"]) == ("error", "error", "c", "x")


@pytest.mark.parametrize("name", ITEMS)
def test_no_shape_makes_it_raise(name: str) -> None:
    item = ITEMS[name][0]
    for body in spoilt({"output": [item], "input": [item]}):
        check_reads(RESPONSES, body)


def test_no_random_body_makes_it_raise() -> None:
    rolled = random.Random(19)
    kinds = [None, "response.output_text.delta", "response.output_item.done", "response.completed"]
    for _ in range(1500):
        check_reads(RESPONSES, random_json(rolled))
        check_events(RESPONSES, [(rolled.choice(kinds), random_json(rolled)) for _ in range(3)])
