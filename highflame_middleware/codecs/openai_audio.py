"""openai-audio: ``POST /audio/speech``, ``/transcriptions`` and ``/translations``.

Text goes in to be spoken, or comes out as it was heard: as JSON, as plain text
or subtitles, or in events. The sound itself is a blob, and passes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..types import Stage
from .openai import OPAQUE, fail, integer, mapping, read_unknown, sequence, string
from .parts import CallRead, Codec, EventRead, Params, Path, ReplyRead, Summary, Text, leaves

__all__ = ["CODEC"]

# Keys whose strings are enumerations, ids or sound; any other may be prose.
_PASSED = (OPAQUE - {"data"}) | {
    "audio",
    "chunking_strategy",
    "file",
    "include",
    "include[]",
    "known_speaker_references",
    "known_speaker_references[]",
    "language",
    "languages",
    "model",
    "response_format",
    "speaker",
    "stream_format",
    "task",
    "timestamp_granularities",
    "timestamp_granularities[]",
    "voice",
}
# What repeats a transcript's text word by word, and piece by piece.
_REPEATING = ("words", "logprobs", "segments")


def read_call(body: Any) -> CallRead:
    """What is to be spoken and how, or what a transcription is told beforehand."""
    read = mapping(body)
    texts = tuple(
        Text(place, found, Stage.PROMPT, "system" if place[0] == "instructions" else "user")
        for place, found in leaves(read, (), _PASSED)
        if found
    )
    streams = read.get("stream") in (True, "true") or read.get("stream_format") == "sse"
    return CallRead(string(read.get("model")), streams, texts)


def read_params(body: Any) -> Params:
    """The request parameters, for telemetry."""
    return Params(output_type="speech" if "voice" in mapping(body) else "text")


def read_reply(body: Any) -> ReplyRead:
    """A transcript: plain, or with segments, each a text of its own, and words.

    Where the whole is changed the rest is taken out: what is found across the
    border of two segments is found in neither.
    """
    if not isinstance(body, dict) or not isinstance(body.get("text"), str):
        return ReplyRead(tuple(read_unknown(body)), Summary())
    texts: list[Text] = []
    for index, segment in enumerate(sequence(body.get("segments"))):
        texts.extend(_spoken(mapping(segment), ("segments", index)))
    texts.extend(_spoken(body, ()))
    return ReplyRead(tuple(texts), _summary(body))


class Reader:
    """Reads the events of a transcription; those of speech hold sound only."""

    def read(self, data: Any, event: str | None) -> EventRead:
        """Read one event: more of the transcript, a segment of it, or all of it again."""
        said = mapping(data)
        kind = string(said.get("type")) or event or ""
        if kind.startswith("speech.audio."):
            return EventRead(summary=_summary(said))
        shadows: tuple[Path, ...] = (("logprobs",),) if said.get("logprobs") else ()
        if kind == "transcript.text.delta":
            return EventRead(tuple(_piece(said, "delta", shadows)))
        if kind == "transcript.text.segment":
            return EventRead(tuple(_piece(said, "text", shadows)))
        if kind == "transcript.text.done":
            texts = tuple(_spoken(said, ()))
            return EventRead(texts, (("delta",), ("text",)), _summary(said), terminal=True)
        return EventRead(tuple(read_unknown(data)))


def refuse(message: str) -> dict[str, Any]:
    """A transcript that says no."""
    return {"text": message}


def _piece(said: Any, key: str, shadows: tuple[Path, ...]) -> Iterator[Text]:
    value = string(said.get(key))
    if value is not None:
        yield Text((key,), value, Stage.RESPONSE, "assistant", channel=(key,), shadows=shadows)


def _spoken(said: Any, path: Path) -> Iterator[Text]:
    value = string(said.get("text"))
    if value is not None:
        shadows = tuple((*path, key) for key in _REPEATING if said.get(key))
        yield Text((*path, "text"), value, Stage.RESPONSE, "assistant", shadows=shadows)


def _summary(body: Any) -> Summary:
    usage = mapping(body.get("usage"))
    return Summary(
        input_tokens=integer(usage.get("input_tokens")), output_tokens=integer(usage.get("output_tokens"))
    )


CODEC = Codec(
    name="openai-audio",
    provider="openai",
    operation="generate_content",
    read_call=read_call,
    read_params=read_params,
    read_reply=read_reply,
    open_stream=Reader,
    refuse=refuse,
    fail=fail,
    media=("audio/", "application/octet-stream"),
    plain=("text/plain", "text/vtt", "text/srt", "application/x-subrip"),
)
