"""A call said in the format that its gateway carries, and what comes back said in the caller's.

The guard never hears of it: a call is translated after its texts were judged
in the caller's format, and a reply before. So redactions, refusals, usage and
what a stream holds back are all of the caller's own format, once.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Protocol

from .codecs import framing_for
from .codecs.framing import Framing
from .codecs.parts import Codec, dump_json
from .errors import HighflameError, UnreadableError, UnsupportedError
from .exchange import Exchange
from .flow import Flow
from .nested import Nested
from .screens import MAX_HELD, Screen, refusal_of, screen_for
from .translation import (
    StreamTranslation,
    UntranslatableError,
    WrittenCall,
    translate_call,
    translate_reply,
    write_fault,
)

__all__ = ["InterpretedScreen", "Interpreter"]

# Of what is no model's reply, nobody wants to read more.
_MOST_OF_A_FAULT = 1024 * 1024
# Elsewhere the body names the model.
_NAMED_BY_PATH = frozenset({"bedrock-converse", "gemini"})
_JSON = "application/json"


class _Speech(Protocol):
    """A reply's bytes said in another format as they come."""

    def feed(self, chunk: bytes) -> bytes: ...

    def finish(self) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """Between a caller's format and that of its gateway, ``target``, for one call.

    ``path`` is the one that the call is posted to in its own format, ``model``
    the model's name at the gateway where it is another than the caller's.
    """

    exchange: Exchange
    codec: Codec
    target: str
    path: str
    dialect: str
    model: str | None = None

    def write(self, body: Any) -> WrittenCall:
        """The call for the gateway; an `UnsupportedError` where something in it cannot be said there."""
        recorder = self.exchange.recorder
        try:
            written = translate_call(body, self.path, self.codec.name, self.target)
        except UntranslatableError as error:
            recorder.annotate("gateway.unsupported", self.codec.name)
            raise UnsupportedError(
                f"The {self.dialect} gateway does not carry calls in the format {self.codec.name}, and this one "
                f"cannot be translated into {self.target}: {error}"
            ) from None
        recorder.annotate("gateway.translated", self.target)
        if written.dropped:
            recorder.annotate("gateway.untranslated", ", ".join(written.dropped))
        said = written.body
        model = self.model or said.get("model") or self.exchange.call.model
        if self.target not in _NAMED_BY_PATH and model is not None and model != said.get("model"):
            said = {**said, "model": model}
        return WrittenCall(path=written.path, body=said, dropped=written.dropped)

    def screen(
        self, status: int, content_type: str | None, call: Any, *, judged: bool
    ) -> tuple[Screen | None, str | None]:
        """The screen for a reply, and the content type in which it then comes.

        ``call`` is the call's body as it was translated; the guard's screen is a
        part of it unless it is not to be ``judged`` here.
        """
        kind = (content_type or "").partition(";")[0].strip().lower()
        if not kind:
            kind = "text/event-stream" if self.exchange.call.stream else _JSON
        speech, said = self._speech(status, kind, call)
        inner = screen_for(self.exchange, status=status, content_type=said, codec=self.codec) if judged else None
        if speech is None:
            return inner, content_type
        return InterpretedScreen(inner, speech, self.exchange, codec=self.codec, framing=framing_for(said)), said

    def _speech(self, status: int, kind: str, call: Any) -> tuple[_Speech | None, str]:
        """What says a reply of this content type, and the type that it then has; nothing for what is no reply."""
        if status >= 400:
            return _Fault(status, self.codec.name), _JSON
        if not 200 <= status < 300 or status in (204, 205):
            return None, kind
        if (framing := framing_for(kind)) is not None:
            model = self.exchange.call.model
            said = StreamTranslation(self.target, self.codec.name, framing=framing, model=model, call=call)
            return said, said.content_type
        return (_Whole(self), _JSON) if kind == _JSON or kind.endswith("+json") else (None, kind)


class InterpretedScreen:
    """Says a reply in the caller's format and gives that to ``inner``, the guard's screen, if there is one."""

    def __init__(
        self,
        inner: Screen | None,
        speech: _Speech,
        exchange: Exchange,
        *,
        codec: Codec,
        framing: Framing | None,
    ) -> None:
        self.stopped: HighflameError | None = None
        self._inner, self._speech = Nested(inner, exchange), speech
        self._codec, self._framing = codec, framing

    @property
    def concluded(self) -> bool:
        """Whether the reply has said that it ends here, whatever bytes are still to come."""
        return self._inner.concluded

    def feed(self, chunk: bytes) -> Flow[bytes]:
        if self.stopped is not None:
            return b""
        try:
            said = self._speech.feed(chunk)
        except HighflameError as error:
            self.stopped = error
            return b""
        return (yield from self._judged(said)) if said else b""

    def finish(self) -> Flow[bytes]:
        if self.stopped is not None:
            return b""
        try:
            said = self._speech.finish()
        except HighflameError as error:
            self.stopped = error
            return b""
        out = (yield from self._judged(said)) if said else b""
        if self.stopped is None:
            out += yield from self._inner.finish()
            self.stopped = self._inner.stopped
        return out

    def refusal(self, error: HighflameError) -> bytes:
        return refusal_of(self._codec, self._framing, error)

    def _judged(self, said: bytes) -> Flow[bytes]:
        out = yield from self._inner.feed(said)
        self.stopped = self._inner.stopped
        return out


class _Whole:
    """A reply in one piece."""

    def __init__(self, interpreter: Interpreter) -> None:
        self._interpreter = interpreter
        self._held = bytearray()

    def feed(self, chunk: bytes) -> bytes:
        self._held += chunk
        if len(self._held) > MAX_HELD:
            self._held.clear()
            raise UnreadableError(
                f"The gateway's reply is longer than {MAX_HELD} bytes: it could not be translated"
            )
        return b""

    def finish(self) -> bytes:
        interpreter = self._interpreter
        names = interpreter.target, interpreter.codec.name
        try:
            reply = translate_reply(json.loads(self._held), *names, model=interpreter.exchange.call.model)
            return dump_json(reply)
        except UntranslatableError as error:
            raise UnsupportedError(
                f"The {interpreter.dialect} gateway's reply cannot be translated from {names[0]} into {names[1]}: "
                f"{error}"
            ) from None
        except (ValueError, RecursionError):
            raise UnreadableError(
                "The gateway's reply is not JSON, though it says so: it could not be translated"
            ) from None


class _Fault:
    """An error that the gateway answers with, as the caller's API would tell it."""

    def __init__(self, status: int, name: str) -> None:
        self._status, self._name = status, name
        self._held = bytearray()

    def feed(self, chunk: bytes) -> bytes:
        # What is cut off is no JSON any more, and then only the status is told.
        self._held += chunk[: _MOST_OF_A_FAULT - len(self._held)]
        return b""

    def finish(self) -> bytes:
        try:
            body = json.loads(self._held)
        except (ValueError, RecursionError):
            body = None
        return dump_json(write_fault(body, self._status, self._name))
