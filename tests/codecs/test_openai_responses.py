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


# ------------------------------------------------------------------------------------------------- streams

# Each family of deltas: its events' names, the field that repeats the text, and what the text is.
FAMILIES: dict[str, tuple[str, str]] = {
    "output_text": ("text", "response"),
    "refusal": ("refusal", "response"),
    "reasoning_text": ("text", "response"),
    "reasoning_summary_text": ("text", "response"),
    "audio.transcript": ("transcript", "response"),
    "function_call_arguments": ("arguments", "tool_call"),
    "mcp_call_arguments": ("arguments", "tool_call"),
    "custom_tool_call_input": ("input", "tool_call"),
    "code_interpreter_call_code": ("code", "tool_call"),
    "apply_patch_call_operation_diff": ("diff", "tool_call"),
    "shell_call_command": ("command", "tool_call"),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_text_comes_in_deltas_and_is_said_again(family: str) -> None:
    field, stage = FAMILIES[family]
    reader = RESPONSES.open_stream()
    where = {"item_id": "i", "output_index": 2, "content_index": 1}
    first = reader.read({"type": f"response.{family}.delta", **where, "delta": "Hel"}, None)
    second = reader.read({"type": f"response.{family}.delta", **where, "delta": "lo"}, None)
    done = reader.read({"type": f"response.{family}.done", **where, field: "Hello"}, None)
    (one,), (two,), (again,) = first.texts, second.texts, done.texts
    assert one.channel == two.channel is not None
    assert (one.path, again.path, again.channel) == (("delta",), (field,), None)
    assert {one.stage.value, two.stage.value, again.stage.value} == {stage}
    assert one.is_json == again.is_json == (field == "arguments")
    (closed,) = done.closes
    assert one.channel[: len(closed)] == closed
    assert (first.closes, second.closes) == ((), ())


def test_a_shells_output_comes_in_two_deltas_at_once() -> None:
    reader = RESPONSES.open_stream()
    where = {"item_id": "i", "output_index": 2, "command_index": 0}
    kind = "response.shell_call_output_content"
    delta = reader.read({"type": f"{kind}.delta", **where, "delta": {"stdout": "x", "stderr": "y"}}, None)
    assert [(text.path, text.stage.value) for text in delta.texts] == [
        (("delta", "stdout"), "tool_result"),
        (("delta", "stderr"), "tool_result"),
    ]
    done = reader.read({"type": f"{kind}.done", **where, "output": [{"stdout": "x", "stderr": "y"}]}, None)
    assert [text.path for text in done.texts] == [("output", 0, "stdout"), ("output", 0, "stderr")]
    (closed,) = done.closes
    assert all(text.channel is not None and text.channel[: len(closed)] == closed for text in delta.texts)


def test_a_kind_of_call_that_is_not_known_is_a_call() -> None:
    event = {"type": "response.quantum_call_program.delta", "output_index": 0, "delta": "x"}
    assert [text.stage.value for text in RESPONSES.open_stream().read(event, None).texts] == ["tool_call"]
    event["type"] = "response.musing.delta"
    assert [text.stage.value for text in RESPONSES.open_stream().read(event, None).texts] == ["response"]


NUMBERS = ["content_index", "summary_index", "command_index"]


@pytest.mark.parametrize("number", NUMBERS)
def test_texts_of_one_item_are_told_apart(number: str) -> None:
    reader = RESPONSES.open_stream()
    seen = set()
    for item in (0, 1):
        for place in (0, 1):
            event = {"type": "response.output_text.delta", "output_index": item, number: place, "delta": "x"}
            (text,) = reader.read(event, None).texts
            seen.add(text.channel)
    assert len(seen) == 4


def test_an_item_is_known_by_its_place_whatever_ids_it_is_given() -> None:
    """Some gateways give another id in every event; the clients go by the place."""
    reader = RESPONSES.open_stream()
    added = {"type": "function_call", "id": "fc_1", "name": "pay", "arguments": ""}
    reader.read({"type": "response.output_item.added", "output_index": 3, "item": added}, None)
    kind = "response.function_call_arguments.delta"
    texts = [
        reader.read({"type": kind, "output_index": 3, "item_id": identity, "delta": "x"}, None).texts[0]
        for identity in ("fc_2", "fc_3")
    ]
    assert texts[0].channel == texts[1].channel
    assert [text.tool for text in texts] == ["pay", "pay"]


def test_without_a_place_an_item_is_known_by_its_id() -> None:
    reader = RESPONSES.open_stream()
    for identity, name in (("a", "find"), ("b", "pay")):
        reader.read(
            {"type": "response.output_item.added", "item": {"type": "function_call", "id": identity, "name": name}},
            None,
        )
    kind = "response.function_call_arguments.delta"
    tools = [
        reader.read({"type": kind, "item_id": identity, "delta": "x"}, None).texts[0].tool for identity in "ab"
    ]
    assert tools == ["find", "pay"]


def test_a_place_that_is_used_again_takes_the_new_items_name() -> None:
    reader = RESPONSES.open_stream()
    call = {"type": "function_call", "id": "a", "name": "pay"}
    reader.read({"type": "response.output_item.added", "output_index": 0, "item": call}, None)
    message = {"type": "message", "id": "b", "content": []}
    reader.read({"type": "response.output_item.added", "output_index": 0, "item": message}, None)
    (text,) = reader.read({"type": "response.output_text.delta", "output_index": 0, "delta": "x"}, None).texts
    assert text.tool is None


ITEM = {"type": "function_call", "id": "fc", "name": "f", "arguments": "{}"}
EVENTS: dict[str, tuple[dict[str, Any], list[Path], tuple[Any, ...], bool]] = {
    # event, places of texts, what it closes, whether it ends the stream
    "an item begins": (
        {"type": "response.output_item.added", "output_index": 0, "item": {**ITEM, "arguments": ""}},
        [],
        (),
        False,
    ),
    "an item ends": (
        {"type": "response.output_item.done", "output_index": 0, "item": ITEM},
        [("item", "arguments")],
        ((0,),),
        False,
    ),
    "a call with nothing ends": (
        {"type": "response.output_item.done", "output_index": 0, "item": {**ITEM, "arguments": ""}},
        [("item", "arguments")],
        ((0,),),
        False,
    ),
    "a part ends": (
        {
            "type": "response.content_part.done",
            "output_index": 0,
            "content_index": 0,
            "part": {"type": "output_text", "text": "x"},
        },
        [("part", "text")],
        ((0, "content_part", 0),),
        False,
    ),
    "an annotation": (
        {
            "type": "response.output_text.annotation.added",
            "output_index": 0,
            "annotation": {"type": "url_citation", "title": "x"},
        },
        [("annotation", "title")],
        (),
        False,
    ),
    "a command begins": (
        {"type": "response.shell_call_command.added", "output_index": 0, "command": "ls"},
        [("command",)],
        (),
        False,
    ),
    "the response begins": (
        {"type": "response.created", "response": {"output": [ITEM], "instructions": "x"}},
        [("response", "output", 0, "arguments")],
        (),
        False,
    ),
    "the response is whole": (
        {"type": "response.completed", "response": {"output": [ITEM], "output_text": "x"}},
        [("response", "output", 0, "arguments"), ("response", "output_text")],
        (),
        True,
    ),
    "the response is cut": ({"type": "response.incomplete", "response": {"output": []}}, [], (), True),
    "the response failed": ({"type": "response.failed", "response": {"output": []}}, [], (), True),
    "an error": ({"type": "error", "code": None, "message": "x"}, [("message",)], (), True),
    "sound": ({"type": "response.audio.delta", "delta": "UklGRg=="}, [], (), False),
    "a picture": (
        {"type": "response.image_generation_call.partial_image", "partial_image_b64": "AA=="},
        [],
        (),
        False,
    ),
    "progress": ({"type": "response.web_search_call.searching", "item_id": "x"}, [], (), False),
    "another API's": ({"type": "content_block_delta", "delta": {"text": "x"}}, [("delta", "text")], (), False),
}


@pytest.mark.parametrize("name", EVENTS)
def test_an_event(name: str) -> None:
    event, paths, closes, terminal = EVENTS[name]
    read = RESPONSES.open_stream().read(event, None)
    assert ([text.path for text in read.texts], read.closes, read.terminal) == (paths, closes, terminal)
    assert all(text.channel is None for text in read.texts)


def test_the_name_of_an_event_tells_its_kind_where_its_data_does_not() -> None:
    read = RESPONSES.open_stream().read({"output_index": 0, "delta": "x"}, "response.output_text.delta")
    assert [text.channel for text in read.texts] == [(0, "output_text", 0)]


def test_log_probabilities_of_an_event_go_with_its_text() -> None:
    for kind, field in (("delta", "delta"), ("done", "text")):
        event = {
            "type": f"response.output_text.{kind}",
            "output_index": 0,
            field: "x",
            "logprobs": [{"token": "x"}],
        }
        (text,) = RESPONSES.open_stream().read(event, None).texts
        assert text.shadows == (("logprobs",),)


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


@pytest.mark.parametrize("name", EVENTS)
def test_no_event_makes_it_raise(name: str) -> None:
    event = EVENTS[name][0]
    for data in spoilt(event):
        check_events(RESPONSES, [(None, event), (None, data), ("response.output_text.delta", data)])


def test_no_random_body_makes_it_raise() -> None:
    rolled = random.Random(19)
    kinds = [None, "response.output_text.delta", "response.output_item.done", "response.completed"]
    for _ in range(1500):
        check_reads(RESPONSES, random_json(rolled))
        check_events(RESPONSES, [(rolled.choice(kinds), random_json(rolled)) for _ in range(3)])
