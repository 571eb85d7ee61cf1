"""Calls, replies and streams of one API format said in another, through values that are no format's own.

A gateway that carries one format can so serve an SDK that speaks another.
Everything here is pure; a format's translator is loaded when it is first used.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib import import_module
from typing import Any, cast

from ..codecs import framing_for
from ..codecs.framing import Event, Framing
from .conversation import Delta, Ended
from .faults import write_fault
from .translator import StreamReader, StreamWriter, Translator, UntranslatableError, WrittenCall

__all__ = [
    "TRANSLATORS",
    "StreamTranslation",
    "Translator",
    "UntranslatableError",
    "WrittenCall",
    "load_translator",
    "targets_of",
    "translate_call",
    "translate_reply",
    "write_fault",
]

# The module of each format that can be translated, by its codec's name.
TRANSLATORS: Mapping[str, str] = {
    "openai-chat": "openai_chat",
    "openai-responses": "openai_responses",
    "anthropic-messages": "anthropic_messages",
    "bedrock-converse": "bedrock_converse",
    "gemini": "gemini",
}

# The calls of each format that ask a model for an answer; others of the same API are for that API alone.
_ANSWERED: Mapping[str, re.Pattern[str]] = {
    "openai-chat": re.compile(r"/chat/completions$"),
    "openai-responses": re.compile(r"/responses$"),
    "anthropic-messages": re.compile(r"/messages$|(:|%3[Aa])(rawPredict|streamRawPredict)$"),
    "bedrock-converse": re.compile(r"/converse(-stream)?$"),
    "gemini": re.compile(
        r"/(models|tunedModels|endpoints)/[^/:]+(:|%3[Aa])(generateContent|streamGenerateContent)$"
    ),
}

# How much of one event is waited for, and how much of a stream is read: its last events may repeat it whole.
MAX_EVENT = 8 * 1024 * 1024
MAX_STREAM = 64 * 1024 * 1024


@cache
def load_translator(name: str) -> Translator:
    """The translator of a format.

    >>> load_translator("openai-chat").name
    'openai-chat'
    """
    if (module := TRANSLATORS.get(name)) is None:
        raise UntranslatableError(f"there is no translator of {name}")
    return cast("Translator", import_module(f".{module}", __name__).TRANSLATOR)


def targets_of(name: str, method: str, path: str) -> tuple[str, ...]:
    """The formats into which a call in a format can be translated, the most widely carried first.

    >>> targets_of("gemini", "POST", "/v1beta/models/m:generateContent")[0]
    'openai-chat'
    >>> targets_of("gemini", "POST", "/v1beta/models/m:countTokens")
    ()
    """
    pattern = _ANSWERED.get(name)
    if pattern is None or method != "POST" or not pattern.search(path.partition("?")[0].rstrip("/")):
        return ()
    return tuple(target for target in TRANSLATORS if target != name)


def translate_call(body: Any, path: str, source: str, target: str) -> WrittenCall:
    """A call's body, posted to ``path`` in the format ``source``, as a call in the format ``target``.

    >>> body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
    >>> translate_call(body, "/v1/chat/completions", "openai-chat", "openai-responses").path
    '/responses'
    """
    return load_translator(target).write_call(load_translator(source).read_call(body, path))


def translate_reply(body: Any, source: str, target: str, *, model: str | None = None) -> Any:
    """A reply's body in the format ``source``, in the format ``target``; ``model`` is named where it names none."""
    reply = load_translator(source).read_reply(body)
    if reply.model is None:
        reply = replace(reply, model=model)
    return load_translator(target).write_reply(reply)


class StreamTranslation:
    """One stream's bytes in the format ``source``, as bytes in the format ``target``.

    ``framing`` is that of the content type in which the stream comes; what is
    written is of the target's (`content_type`). ``model`` is named where the stream
    names none, ``call`` the body of the call as its sender posted it, in the format
    ``target``. What cannot be translated ends the stream with the target's error event;
    nothing is written after an end.
    """

    __slots__ = (
        "_done",
        "_ended",
        "_framing",
        "_parse",
        "_read",
        "_reader",
        "_splitter",
        "_writer",
        "content_type",
    )

    def __init__(
        self, source: str, target: str, *, framing: Framing, model: str | None = None, call: Any = None
    ) -> None:
        written = load_translator(target)
        writing = framing_for(written.content_type)
        assert writing is not None, "a translator names a content type that streams have"
        self.content_type = written.content_type
        self._framing = writing
        self._done = written.done
        self._parse = framing.parse
        self._splitter = framing.splitter()
        self._reader: StreamReader = load_translator(source).read_stream()
        answer = written.answer_stream
        self._writer: StreamWriter = answer(model, call) if answer is not None else written.write_stream(model)
        self._read = 0
        self._ended = False

    def feed(self, chunk: bytes) -> bytes:
        """What can be said after one more chunk."""
        if self._ended:
            return b""
        self._read += len(chunk)
        try:
            events = self._splitter.feed(chunk)
        except ValueError:
            return self._broken("the stream cannot be read")
        out = self._translated(events)
        if not self._ended and (self._splitter.pending > MAX_EVENT or self._read > MAX_STREAM):
            out += self._broken("the stream is too long to be translated")
        return out

    def finish(self) -> bytes:
        """What is still to be said when the stream's bytes have ended."""
        if self._ended:
            return b""
        rest = self._splitter.finish()
        out = self._translated([rest] if rest.strip() else [])
        return out if self._ended else out + self._closed()

    def _translated(self, events: Iterable[bytes]) -> bytes:
        out = []
        for raw in events:
            if self._ended:
                break
            try:
                event = self._parse(raw)
            except ValueError:
                out.append(self._broken("the stream cannot be read"))
                break
            if event.done:
                out.append(self._closed())
            elif event.is_json:
                out.append(self._said(event))
        return b"".join(out)

    def _said(self, event: Event) -> bytes:
        try:
            deltas = self._reader.read(event.data, event.name)
        except UntranslatableError as error:
            return self._broken(str(error))
        return self._written(deltas)

    def _closed(self) -> bytes:
        out = self._written(self._reader.finish())
        return out if self._ended else out + self._written([Ended()])

    def _broken(self, reason: str) -> bytes:
        return self._written([Ended(error=reason)])

    def _written(self, deltas: Sequence[Delta]) -> bytes:
        out = []
        for delta in deltas:
            if self._ended:
                break
            try:
                events = self._writer.write(delta)
            except UntranslatableError as error:
                delta = Ended(error=str(error))  # noqa: PLW2901 - what is said instead
                events = self._writer.write(delta)
            if not isinstance(delta, Ended):
                out += [self._framing.write(name, data) for name, data in events]
                continue
            self._ended = True
            out += self._last(delta, events)
        return b"".join(out)

    def _last(self, end: Ended, events: Sequence[tuple[str | None, Any]]) -> list[bytes]:
        """The last events: of an end by error the very last tells it, and no end marker follows."""
        broken = end.error is not None and bool(events)
        whole = events[:-1] if broken else events
        out = [self._framing.write(name, data) for name, data in whole]
        if broken:
            out.append(self._framing.write_error(*events[-1]))
        elif self._done is not None and end.error is None:
            out.append(f"data: {self._done}\n\n".encode())
        return out
