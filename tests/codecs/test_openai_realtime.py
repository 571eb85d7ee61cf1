"""openai-realtime: events that are sent and received, and the calls that set a session up."""

from __future__ import annotations

import random
from typing import Any

import pytest

from highflame_middleware.codecs import codec_for_path, load_codec
from highflame_middleware.codecs.parts import Path, Summary
from tests.codecs.shapes import check_events, check_reads, random_json, spoilt

REALTIME = load_codec("openai-realtime")

SESSION = {
    "type": "realtime",
    "model": "gpt-realtime",
    "instructions": "be kind",
    "output_modalities": ["audio"],
    "audio": {
        "input": {"format": {"type": "audio/pcm"}, "transcription": {"model": "whisper", "prompt": "names: X"}},
        "output": {"voice": "marin"},
    },
    "tools": [{"type": "function", "name": "f", "description": "does", "parameters": {"type": "object"}}],
    "tool_choice": "auto",
    "prompt": {"id": "pmpt_1", "variables": {"name": "Ann"}},
}
SET_UP = {
    ("instructions",): ("be kind", "system"),
    ("audio", "input", "transcription", "prompt"): ("names: X", "user"),
    ("tools", 0, "description"): ("does", "tool_definition"),
    ("prompt", "variables", "name"): ("Ann", "user"),
}
CALLS: dict[str, tuple[Any, dict[Path, tuple[str, str]]]] = {
    "an update": (
        {"type": "session.update", "event_id": "e", "session": SESSION},
        {("session", *path): text for path, text in SET_UP.items()},
    ),
    "a call's own": (SESSION, SET_UP),
    "a response": (
        {"type": "response.create", "response": {"instructions": "x", "input": [{"role": "user", "content": "y"}]}},
        {("response", "instructions"): ("x", "system"), ("response", "input", 0, "content"): ("y", "user")},
    ),
    "an item": (
        {
            "type": "conversation.item.create",
            "previous_item_id": "i",
            "item": {
                "type": "message",
                "role": "system",
                "content": [
                    {"type": "input_text", "text": "x"},
                    {"type": "input_audio", "audio": "AA", "transcript": "y"},
                ],
            },
        },
        {("item", "content", 0, "text"): ("x", "system"), ("item", "content", 1, "transcript"): ("y", "system")},
    ),
    "what a tool gave back": (
        {
            "type": "conversation.item.create",
            "item": {"type": "function_call_output", "call_id": "c", "output": "x"},
        },
        {("item", "output"): ("x", "tool")},
    ),
    "sound": ({"type": "input_audio_buffer.append", "audio": "AAAA"}, {}),
    "more instructions": ({"type": "session.instructions.append", "content": "x"}, {("content",): ("x", "user")}),
    "an event never seen": ({"type": "x.y", "note": ["x"]}, {("note", 0): ("x", "user")}),
    "an offer": ({"sdp": "v=0", "session": {"instructions": "x"}}, {("session", "instructions"): ("x", "system")}),
    "nothing": (None, {}),
}


@pytest.mark.parametrize("name", CALLS)
def test_every_text_that_is_sent(name: str) -> None:
    body, expected = CALLS[name]
    read = REALTIME.read_call(body)
    assert {text.path: (text.value, text.role) for text in read.texts} == expected
    assert read.stream is False


def test_the_model() -> None:
    assert REALTIME.read_call({"session": SESSION}).model == "gpt-realtime"
    assert REALTIME.read_call(SESSION).model == "gpt-realtime"


def test_a_secret_that_a_session_comes_with_is_not_a_text() -> None:
    assert REALTIME.read_reply({"value": "ek_1", "expires_at": 1, "session": SESSION}).texts == ()


PLACE = {"response_id": "r", "item_id": "i", "output_index": 0, "content_index": 0}


@pytest.mark.parametrize(
    ("family", "field"),
    [
        ("response.output_text", "text"),
        ("response.text", "text"),
        ("response.output_audio_transcript", "transcript"),
        ("response.audio_transcript", "transcript"),
        ("response.function_call_arguments", "arguments"),
        ("response.mcp_call_arguments", "arguments"),
        ("conversation.item.input_audio_transcription", "transcript"),
    ],
)
def test_deltas_and_what_ends_them(family: str, field: str) -> None:
    reader = REALTIME.open_stream()
    first = reader.read({"type": f"{family}.delta", **PLACE, "delta": "a"}, None)
    other = reader.read({"type": f"{family}.delta", **PLACE, "item_id": "j", "delta": "b"}, None)
    ending = "completed" if family.startswith("conversation") else "done"
    done = reader.read({"type": f"{family}.{ending}", **PLACE, field: "a"}, None)
    channel = first.texts[0].channel
    assert channel is not None
    assert channel != other.texts[0].channel
    assert any(channel[: len(closed)] == closed for closed in done.closes)
    (whole,) = done.texts
    assert (whole.path, whole.value, whole.channel) == ((field,), "a", None)
    assert (whole.stage, whole.tool, whole.role) == (first.texts[0].stage, first.texts[0].tool, first.texts[0].role)
    assert not done.terminal, "a connection goes on"


def test_what_the_user_said_is_a_prompt() -> None:
    reader = REALTIME.open_stream()
    read = reader.read({"type": "conversation.item.input_audio_transcription.delta", **PLACE, "delta": "a"}, None)
    assert (read.texts[0].stage.value, read.texts[0].role) == ("prompt", "user")


def test_arguments_are_those_of_the_tool_that_was_named_before() -> None:
    reader = REALTIME.open_stream()
    item = {"id": "i", "type": "function_call", "name": "look", "arguments": ""}
    assert reader.read({"type": "response.output_item.added", "response_id": "r", "item": item}, None).texts == ()
    delta = reader.read({"type": "response.function_call_arguments.delta", **PLACE, "delta": "{}"}, None)
    assert (delta.texts[0].tool, delta.texts[0].stage.value) == ("look", "tool_call")
    done = reader.read(
        {"type": "response.output_item.done", "response_id": "r", "item": {**item, "arguments": "{}"}}, None
    )
    assert [(text.path, text.tool, text.is_json) for text in done.texts] == [(("item", "arguments"), "look", True)]
    bare = reader.read({"type": "response.output_item.done", "response_id": "r", "item": item}, None)
    assert [(text.value, text.tool) for text in bare.texts] == [("", "look")]


@pytest.mark.parametrize(
    "kind", ["response.output_audio.delta", "response.audio.delta", "session.output_audio.delta"]
)
def test_sound_passes(kind: str) -> None:
    assert REALTIME.open_stream().read({"type": kind, **PLACE, "delta": "AAAA"}, None).texts == ()


def test_a_whole_response_and_its_tokens() -> None:
    reader = REALTIME.open_stream()
    content = [{"type": "output_audio", "transcript": "x"}, {"type": "output_text", "text": "y"}]
    item = {"id": "i", "type": "message", "role": "assistant", "content": content}
    response = {"id": "r", "output": [item], "usage": {"input_tokens": 2, "output_tokens": 3}}
    read = reader.read({"type": "response.done", "response": response}, None)
    assert [text.value for text in read.texts] == ["x", "y"]
    assert read.closes == (("r",),)
    assert read.summary == Summary(id="r", input_tokens=2, output_tokens=3)
    again = reader.read({"type": "response.done", "response": response}, None)
    assert again.summary == Summary(id="r", input_tokens=4, output_tokens=6), "all of the connection's"


def test_a_transcript_without_an_end_is_cut_into_sentences() -> None:
    reader = REALTIME.open_stream()

    def heard(delta: str) -> Any:
        return reader.read({"type": "session.output_transcript.delta", "delta": delta}, None)

    assert [bool(heard(delta).closes) for delta in ("so it", " is. ", "and")] == [False, True, False]
    assert any(heard("x" * 300).closes for _ in range(10))


def test_an_event_inside_of_an_event() -> None:
    reader = REALTIME.open_stream()
    inner = {"type": "response.output_text.delta", **PLACE, "delta": "x", "logprobs": [1]}
    (text,) = reader.read({"type": "response.event", "event": inner}, None).texts
    assert (text.path, text.value, text.shadows) == (("event", "delta"), "x", (("event", "logprobs"),))
    assert text.channel is not None


def test_what_was_sent_is_not_read_again() -> None:
    reader = REALTIME.open_stream()
    for kind in ("session.created", "session.updated"):
        assert reader.read({"type": kind, "session": SESSION}, None).texts == ()


def test_an_error_is_read() -> None:
    read = REALTIME.open_stream().read(REALTIME.fail("no", "c")[1], None)
    assert "no" in [text.value for text in read.texts]
    assert REALTIME.refuse("no")["type"] == "error"


@pytest.mark.parametrize(
    "path", ["/v1/realtime?model=m", "/v1/realtime/client_secrets", "/v1/realtime/calls/c/accept"]
)
def test_by_the_path_of_an_sdk_only(path: str) -> None:
    assert codec_for_path(path, spoken="openai") is REALTIME
    assert codec_for_path(path) is None


def test_no_shape_makes_it_raise() -> None:
    item = {
        "id": "i",
        "type": "function_call",
        "name": "f",
        "arguments": "{}",
        "output": "x",
        "content": [{"text": "x"}],
    }
    event = {
        "type": "response.done",
        "item": item,
        "response": {"output": [item], "instructions": "x"},
        "delta": "x",
        **PLACE,
    }
    for body in spoilt(event):
        check_reads(REALTIME, body)
        check_events(REALTIME, [(None, body), ("session.output_transcript.delta", body)])
    rolled = random.Random(53)
    for _ in range(500):
        check_reads(REALTIME, random_json(rolled))
        check_events(REALTIME, [("response.output_text.delta", random_json(rolled))])
