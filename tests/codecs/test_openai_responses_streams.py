"""Streams of OpenAI's responses: deltas, what is said again, and which item a text belongs to."""

from __future__ import annotations

from typing import Any

import pytest

from highflame_middleware.codecs.parts import Path
from tests.codecs.shapes import check_events, spoilt
from tests.codecs.test_openai_responses import RESPONSES

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


@pytest.mark.parametrize("name", EVENTS)
def test_no_event_makes_it_raise(name: str) -> None:
    event = EVENTS[name][0]
    for data in spoilt(event):
        check_events(RESPONSES, [(None, event), (None, data), ("response.output_text.delta", data)])
