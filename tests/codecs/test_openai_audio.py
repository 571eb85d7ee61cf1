"""openai-audio: what is spoken and what was heard, whole, in segments, in words and in events; sound passes."""

from __future__ import annotations

import random
from typing import Any

import pytest

from highflame_middleware.codecs import codec_for_path, load_codec
from highflame_middleware.codecs.parts import Path, Summary, edits_of, rewrite
from tests.codecs.shapes import check_events, check_reads, random_json, spoilt

AUDIO = load_codec("openai-audio")

CALLS: dict[str, tuple[Any, dict[Path, str]]] = {
    "speech": (
        {"model": "tts", "input": "say it", "voice": "alloy", "instructions": "softly", "response_format": "mp3"},
        {("input",): "say it", ("instructions",): "softly"},
    ),
    "a transcription": (
        {"model": "whisper", "prompt": "names: X", "language": "en", "include[]": ["logprobs"], "temperature": 0},
        {("prompt",): "names: X"},
    ),
    "keywords and speakers": (
        {
            "keywords": ["X", "Y"],
            "known_speaker_names": ["Ann"],
            "known_speaker_references": ["data:audio/wav;base64,AA"],
        },
        {("keywords", 0): "X", ("keywords", 1): "Y", ("known_speaker_names", 0): "Ann"},
    ),
    "nothing": (None, {}),
}


@pytest.mark.parametrize("name", CALLS)
def test_every_text_of_a_call(name: str) -> None:
    body, expected = CALLS[name]
    read = AUDIO.read_call(body)
    assert {text.path: text.value for text in read.texts} == expected
    assert {text.stage.value for text in read.texts} <= {"prompt"}
    assert all(text.role == ("system" if text.path == ("instructions",) else "user") for text in read.texts)


@pytest.mark.parametrize("path", ["speech", "transcriptions", "translations"])
def test_by_the_path_of_an_sdk_only(path: str) -> None:
    assert codec_for_path(f"/openai/deployments/w/audio/{path}?api-version=1", spoken="openai") is AUDIO
    assert codec_for_path(f"/v1/audio/{path}") is None


def test_a_transcript_in_words_and_segments() -> None:
    body = {
        "text": "so it is. it was",
        "language": "english",
        "duration": 1.5,
        "segments": [{"id": 0, "text": "so it is."}, {"id": "seg_1", "speaker": "A", "text": "it was"}],
        "words": [{"word": "so", "start": 0.0}],
        "usage": {"type": "tokens", "input_tokens": 14, "output_tokens": 45},
    }
    read = AUDIO.read_reply(body)
    assert [(text.path, text.value) for text in read.texts] == [
        (("segments", 0, "text"), "so it is."),
        (("segments", 1, "text"), "it was"),
        (("text",), "so it is. it was"),
    ]
    assert read.summary == Summary(input_tokens=14, output_tokens=45)
    # What is found across two segments is in neither: they are taken out with the words.
    edited = rewrite(body, edits_of((text, f"<{text.value}>") for text in read.texts))
    assert edited["text"] == "<so it is. it was>"
    assert (edited["segments"], edited["words"]) == (None, None)
    only = rewrite(body, edits_of([(read.texts[0], "x")]))
    assert [segment["text"] for segment in only["segments"]] == ["x", "it was"]


def test_a_plain_transcript_is_one_text() -> None:
    (text,) = AUDIO.read_reply("it was so").texts
    assert (text.path, text.value, text.stage.value) == ((), "it was so", "response")
    assert rewrite("it was so", edits_of([(text, "no")])) == "no"


def test_a_transcript_that_streams() -> None:
    reader = AUDIO.open_stream()
    events = [
        {"type": "transcript.text.delta", "delta": "it ", "logprobs": [{"token": "it "}]},
        {"type": "transcript.text.segment", "id": "seg_1", "speaker": "A", "text": "it was"},
        {"type": "transcript.text.delta", "delta": "was"},
        {"type": "transcript.text.done", "text": "it was", "logprobs": [{}], "usage": {"input_tokens": 1}},
    ]
    reads = [reader.read(event, None) for event in events]
    assert [(text.path, text.value, text.channel, text.shadows) for read in reads for text in read.texts] == [
        (("delta",), "it ", ("delta",), (("logprobs",),)),
        (("text",), "it was", ("text",), ()),
        (("delta",), "was", ("delta",), ()),
        (("text",), "it was", None, (("logprobs",),)),
    ]
    assert (reads[3].terminal, reads[3].summary) == (True, Summary(input_tokens=1))
    assert reader.read({"type": "an.event", "note": "x"}, None).texts[0].value == "x"


def test_speech_that_streams_is_sound() -> None:
    reader = AUDIO.open_stream()
    assert reader.read({"type": "speech.audio.delta", "audio": "AAAA"}, None).texts == ()
    done = {"type": "speech.audio.done", "usage": {"input_tokens": 1, "output_tokens": 2}}
    assert reader.read(done, None).summary == Summary(input_tokens=1, output_tokens=2)


@pytest.mark.parametrize(("body", "kind"), [({"voice": "alloy"}, "speech"), ({"language": "en"}, "text")])
def test_parameters(body: Any, kind: str) -> None:
    assert AUDIO.read_params(body).output_type == kind
    assert AUDIO.refuse("no") == {"text": "no"}


def test_no_shape_makes_it_raise() -> None:
    whole = {"text": "x", "segments": [{"text": "y"}], "words": [{}], "usage": {"input_tokens": 1}, "input": "z"}
    for body in spoilt(whole):
        check_reads(AUDIO, body)
        check_events(AUDIO, [("transcript.text.delta", body), ("transcript.text.done", body)])
    rolled = random.Random(37)
    for _ in range(500):
        check_reads(AUDIO, random_json(rolled))
        check_events(AUDIO, [(None, random_json(rolled))])
