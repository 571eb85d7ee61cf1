"""gemini-live: the messages of a live connection, each way."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from highflame_middleware.codecs import codec_for_path, load_codec
from highflame_middleware.codecs.parts import Path, Summary, edits_of, rewrite
from tests.codecs.shapes import check_events, check_reads, random_json, spoilt

LIVE = load_codec("gemini-live")

SETUP = {
    "setup": {
        "model": "models/gemini-live",
        "generationConfig": {"responseModalities": ["TEXT"]},
        "systemInstruction": {"parts": [{"text": "be kind"}]},
        "tools": [{"functionDeclarations": [{"name": "f", "description": "does"}]}],
        "sessionResumption": {"handle": "abc"},
    }
}
CALLS: dict[str, tuple[Any, dict[Path, tuple[str, str]]]] = {
    "the setup": (
        SETUP,
        {
            ("setup", "systemInstruction", "parts", 0, "text"): ("be kind", "system"),
            ("setup", "tools", 0, "functionDeclarations", 0, "description"): ("does", "tool_definition"),
        },
    ),
    "turns": (
        {"client_content": {"turns": [{"role": "user", "parts": [{"text": "x"}]}], "turn_complete": True}},
        {("client_content", "turns", 0, "parts", 0, "text"): ("x", "user")},
    ),
    "text as it is typed": ({"realtime_input": {"text": "x"}}, {("realtime_input", "text"): ("x", "user")}),
    "sound": ({"realtime_input": {"audio": {"data": "AAAA", "mime_type": "audio/pcm"}}}, {}),
    "what a tool gave back": (
        {"tool_response": {"functionResponses": [{"id": "1", "name": "f", "response": {"result": "x"}}]}},
        {("tool_response", "functionResponses", 0, "response", "result"): ("x", "tool")},
    ),
    "nothing": (None, {}),
}


@pytest.mark.parametrize("name", CALLS)
def test_every_text_that_is_sent(name: str) -> None:
    body, expected = CALLS[name]
    assert {text.path: (text.value, text.role) for text in LIVE.read_call(body).texts} == expected


def test_a_turn_in_pieces_and_its_end() -> None:
    reader = LIVE.open_stream()

    def said(*parts: Any) -> Any:
        return reader.read({"serverContent": {"modelTurn": {"parts": list(parts)}}}, None)

    one, other, thought = said({"text": "a"}), said({"text": "b"}), said({"text": "c", "thought": True})
    assert one.texts[0].channel == other.texts[0].channel != thought.texts[0].channel
    assert said({"inlineData": {"mimeType": "audio/pcm", "data": "AAAA"}}).texts == ()
    assert reader.read({"serverContent": {"turnComplete": True}}, None).closes == ((),)


def test_transcripts_of_both_sides() -> None:
    reader = LIVE.open_stream()
    heard = reader.read({"serverContent": {"inputTranscription": {"text": "a"}}}, None).texts[0]
    spoken = reader.read({"serverContent": {"outputTranscription": {"text": "b"}}}, None).texts[0]
    assert (heard.stage.value, heard.role, spoken.stage.value) == ("prompt", "user", "response")
    assert heard.channel is not None
    assert heard.channel != spoken.channel


def test_a_call_of_tools_is_whole() -> None:
    body = {"toolCall": {"functionCalls": [{"id": "1", "name": "f", "args": {"a": "x"}}, {"id": "2", "name": "g"}]}}
    read = LIVE.open_stream().read(body, None)
    first, second = read.texts
    assert (json.loads(first.value), first.tool, first.is_json, first.structured) == ({"a": "x"}, "f", True, True)
    assert (second.value, second.tool) == ("", "g")
    assert rewrite(body, edits_of([(first, '{"a":"y"}')]))["toolCall"]["functionCalls"][0]["args"] == {"a": "y"}


def test_tokens() -> None:
    usage = {"usageMetadata": {"promptTokenCount": 3, "responseTokenCount": 5}}
    assert LIVE.open_stream().read(usage, None).summary == Summary(input_tokens=3, output_tokens=5)


@pytest.mark.parametrize(
    "path",
    [
        "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent?key=k",
        "/ws/google.ai.generativelanguage.v1alpha.GenerativeService.BidiGenerateContentConstrained",
        "/ws/google.cloud.aiplatform.v1beta1.LlmBidiService/BidiGenerateContent",
    ],
)
def test_by_path(path: str) -> None:
    assert codec_for_path(path, spoken="gemini") is LIVE


def test_no_shape_makes_it_raise() -> None:
    turn = {"serverContent": {"modelTurn": {"parts": [{"text": "x"}]}, "inputTranscription": {"text": "x"}}}
    for whole in (SETUP, turn, {"toolCall": {"functionCalls": [{"name": "f", "args": {"a": 1}}]}}):
        for body in spoilt(whole):
            LIVE.read_call(body)
            check_events(LIVE, [(None, body)])
    rolled = random.Random(59)
    for _ in range(500):
        check_reads(LIVE, random_json(rolled))
        check_events(LIVE, [(None, random_json(rolled))])
