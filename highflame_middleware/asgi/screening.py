"""Which screen an application's reply gets, and how its texts are read.

Two questions come first. Was a model called, as far as the request tells? Then every text of the reply counts, or
those that selectors name. If not, only what says itself that it is a reply in an API's format is looked into.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from typing import Any

from ..codecs import codec_for_reply, framing_for, load_codec
from ..codecs.framing import Framing
from ..codecs.openai import read_unknown
from ..codecs.parts import Codec, EventRead, Reader, ReplyRead, Summary, Text
from ..errors import HighflameError, UnreadableError
from ..exchange import Exchange
from ..flow import Flow
from ..screens import EventScreen, JsonScreen, Screen, screen_for
from ..types import Stage
from .selectors import Selection
from .text_screen import TextScreen

__all__ = [
    "Notices",
    "as_json",
    "is_guarded",
    "is_told",
    "kind_of",
    "offered",
    "screen_of",
    "stream_codec",
    "telling_kind",
]

_log = logging.getLogger("highflame_middleware.asgi")

# Of the other JSON replies only those are looked into that come in one piece of a moderate size.
_SNIFFED = 1024 * 1024
# Paths that are remembered because a warning about them has been given.
_MAX_NOTICES = 1024
_TEXTS = re.compile(r"text/.*|application/(xml|xhtml\+xml|yaml|x-yaml|toml|x-www-form-urlencoded)|.*\+(xml|yaml)")
# What stands in every reply, and every event, that says what format it is in (`codecs.codec_for_reply`), however it
# is escaped.
_tells = re.compile(rb'"(?:object|type|choices)"|\\u00[67]').search
_CHARSET = re.compile(r";\s*charset\s*=\s*\"?([^\s\";]+)", re.IGNORECASE)


@dataclass(slots=True)
class Notices:
    """Warnings that are given once for each path; after very many paths no more of them."""

    seen: set[str] = field(default_factory=set)

    def compressed(self, path: str) -> None:
        """A reply that should be guarded has been compressed before it came here."""
        if path in self.seen or len(self.seen) >= _MAX_NOTICES:
            return
        self.seen.add(path)
        _log.warning(
            "the compressed reply to %s passes unguarded: add the compressing middleware so that it stands outside "
            "of HighflameMiddleware (later, with add_middleware), or leave compression to the server",
            path,
        )


def is_guarded(exchange: Exchange, selection: Selection | None) -> bool:
    """Whether the whole reply counts: a model was called, or the application says that one answers here."""
    call = exchange.call
    return call.codec is not None or bool(call.texts) or selection is not None


def telling_kind(status: int, headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The type of a reply that may say that it is a model's though nobody asked one: JSON, a stream; else nothing.

    >>> telling_kind(200, [(b"content-type", b"application/json"), (b"content-length", b"9")])
    'application/json'
    >>> telling_kind(200, [(b"content-type", b"text/html")])
    ''
    """
    kind, length = b"", b""
    if 200 <= status < 300:
        for name, value in headers:
            lower = name.lower()
            if lower == b"content-type":
                kind = value
            elif lower == b"content-length":
                length = value
    found = _kind_of(kind)
    return found if found and (found != "application/json" or _is_sniffed(found, length)) else ""


@lru_cache(maxsize=64)
def _kind_of(content_type: bytes) -> str:
    """The type that a reply says it has, where it is JSON or a stream: an application has few."""
    kind = kind_of(content_type.decode("latin-1"))
    return kind if kind == "application/json" or framing_for(kind) is not None else ""


def _is_sniffed(kind: str, length: bytes) -> bool:
    return kind == "application/json" and length.isdigit() and int(length) <= _SNIFFED


def is_told(raw: bytes) -> bool:
    """Whether JSON, whole and in any of its encodings, can say what format it is in."""
    # Where there are zeros it is in UTF-16 or UTF-32, where it would be written otherwise.
    return b"\0" in raw or _tells(raw) is not None


def screen_of(
    exchange: Exchange,
    status: int,
    headers: Mapping[bytes, bytes],
    *,
    selection: Selection | None = None,
    notices: Notices | None = None,
) -> Screen | None:
    """The screen for a reply, by status and headers (names in lower case), or nothing where it passes unseen.

    ``selection`` says which texts of JSON replies count, where the application has declared them.
    """
    if exchange.policy.guard is None or exchange.call.method == "HEAD" or not 200 <= status < 300:
        return None
    if status in (204, 205):
        return None
    written = headers.get(b"content-type", b"").decode("latin-1")
    kind, guarded = kind_of(written), is_guarded(exchange, selection)
    is_json, is_stream = kind == "application/json" or kind.endswith("+json"), framing_for(kind) is not None
    is_text = guarded and not is_json and not is_stream and (not kind or _TEXTS.fullmatch(kind) is not None)
    if not (is_json or is_stream or is_text):
        return None
    if headers.get(b"content-encoding", b"identity").strip().lower() not in (b"identity", b""):
        if guarded or is_stream:
            (notices or Notices()).compressed(exchange.call.path)
        return None
    if is_text:
        charset = _CHARSET.search(written)
        return TextScreen(exchange, charset[1] if charset else "", untyped=not kind)
    if guarded:
        codec = _reply_codec(exchange.call.codec, _fallback(selection))
        return screen_for(exchange, status=status, content_type=kind, codec=codec)
    if (framing := framing_for(kind)) is not None:
        return _SniffingEvents(EventScreen(exchange, _sniffing_codec(), framing), framing)
    if not _is_sniffed(kind, headers.get(b"content-length", b"")):
        return None
    return _Sniffing(JsonScreen(exchange, _sniffing_codec()))


# How a server sends a file by itself, and what asks for a part of one.
_UNSEEN = frozenset({"http.response.pathsend", "http.response.zerocopysend"})
_PARTS = frozenset({b"range", b"if-range"})


def offered(scope: Any) -> Any:
    """The scope for an application whose reply counts: without what would have it pass unseen, or in parts.

    >>> offered({"headers": [(b"range", b"bytes=0-9")], "extensions": {"http.response.pathsend": {}}})
    {'headers': [], 'extensions': {}}
    """
    changed: dict[str, Any] = {}
    if any(name.lower() in _PARTS for name, _ in scope["headers"]):
        changed["headers"] = [item for item in scope["headers"] if item[0].lower() not in _PARTS]
    extensions = scope.get("extensions")
    if extensions and not _UNSEEN.isdisjoint(extensions):
        changed["extensions"] = {name: value for name, value in extensions.items() if name not in _UNSEEN}
    return {**scope, **changed} if changed else scope


def kind_of(content_type: str) -> str:
    """A content type without its parameters.

    >>> kind_of("Text/HTML; charset=utf-8")
    'text/html'
    """
    return content_type.partition(";")[0].strip().lower()


def as_json(selection: Selection | None) -> Callable[[Any], tuple[Text, ...]]:
    """How texts of a reply in a shape of the application's own are found: the selected ones, or every string."""

    def read(body: Any) -> tuple[Text, ...]:
        if selection is None:
            return tuple(read_unknown(body))
        try:
            texts = selection.read(body)
        except UnreadableError:
            # Too much to be looked for in: then all of it counts.
            return tuple(read_unknown(body))
        return tuple(text._replace(stage=Stage.RESPONSE, role="assistant") for text in texts)

    return read


def stream_codec(selection: Selection | None) -> Codec:
    """How a stream of the application's is read whose every text counts, or every selected one."""
    return _reply_codec(None, _fallback(selection))


class _Sniffing:
    """Looks at JSON that need not come from a model at all: what cannot be read passes as it came."""

    def __init__(self, screen: JsonScreen) -> None:
        self.stopped: HighflameError | None = None
        self._screen = screen
        self._body = bytearray()
        self._passing = False

    def feed(self, chunk: bytes) -> Flow[bytes]:
        yield from ()
        if self._passing:
            return chunk
        self._body += chunk
        if len(self._body) <= _SNIFFED:
            return b""
        # It is longer than it said: nothing of it is kept any more.
        self._passing = True
        out = bytes(self._body)
        self._body.clear()
        return out

    def finish(self) -> Flow[bytes]:
        raw = bytes(self._body)
        if not is_told(raw):
            return raw
        try:
            body = json.loads(raw)
        except (ValueError, RecursionError):
            return raw
        if codec_for_reply(body) is None:
            return raw
        out = yield from self._screen.feed(raw)
        out += yield from self._screen.finish()
        self.stopped = self._screen.stopped
        return out

    def refusal(self, error: HighflameError) -> bytes:
        return self._screen.refusal(error)


class _SniffingEvents:
    """Looks at a stream that need not come from a model at all: up to the first event in an API's format it passes.

    This is what most streams cost: cutting them, and a look at the bytes of each event.
    """

    def __init__(self, screen: EventScreen, framing: Framing) -> None:
        self.stopped: HighflameError | None = None
        self._screen = screen
        self._splitter = framing.splitter()
        self._telling = self._passing = False
        # Whether the next chunk begins with an event, and none so far was in an API's format.
        self._between = True

    def passes(self, chunk: bytes) -> bool:
        """Whether a chunk is to be passed on as it came, and nothing to be kept of it."""
        if self._between:
            # Whole events, as most applications send them.
            return chunk[-2:] == b"\n\n" and _tells(chunk) is None
        return self._passing

    def feed(self, chunk: bytes) -> Flow[bytes]:
        if self.passes(chunk):
            return chunk
        if self._telling:
            return (yield from self._judged(chunk))
        events = self._splitter.feed(chunk)
        self._between = not self._splitter.pending
        for place, event in enumerate(events):
            if _tells(event):
                self._telling, self._between = True, False
                rest = b"".join(events[place:]) + self._splitter.finish()
                return b"".join(events[:place]) + (yield from self._judged(rest))
        if self._splitter.pending <= _SNIFFED:
            return b"".join(events)
        self._passing, self._between = True, False
        return b"".join(events) + self._splitter.finish()

    def finish(self) -> Flow[bytes]:
        rest = self._splitter.finish()
        if not self._telling and not _tells(rest):
            return rest
        out = yield from self._judged(rest)
        if self.stopped is None:
            out += yield from self._screen.finish()
            self.stopped = self._screen.stopped
        return out

    def refusal(self, error: HighflameError) -> bytes:
        return self._screen.refusal(error)

    def _judged(self, chunk: bytes) -> Flow[bytes]:
        out = (yield from self._screen.feed(chunk)) if chunk else b""
        self.stopped = self._screen.stopped
        return out


def _fallback(selection: Selection | None) -> Codec:
    """How replies are read that count, and are in no API's format."""
    base, read = load_codec("any-json"), as_json(selection)
    if selection is None:
        return base
    return replace(
        base, read_reply=lambda body: ReplyRead(read(body), Summary()), open_stream=lambda: _Selected(read)
    )


class _Selected:
    """Takes what stands at the same selected place in successive events for the pieces of one text."""

    def __init__(self, read: Callable[[Any], tuple[Text, ...]]) -> None:
        self._texts = read

    def read(self, data: Any, event: str | None) -> EventRead:
        # An event that is nothing but a text has nothing to be selected in: it counts.
        texts = self._texts(data) if isinstance(data, dict | list) else read_unknown(data)
        return EventRead(tuple(text._replace(channel=(event or "", *text.path)) for text in texts))


@cache
def _sniffing_codec() -> Codec:
    """How the reply of an application is read that need not have called a model."""
    return _reply_codec(None, None)


def _reply_codec(called: Codec | None, fallback: Codec | None) -> Codec:
    """How an application's reply is read: as what it says it is, else as the fallback has it."""
    base = called if called is not None else fallback if fallback is not None else load_codec("openai-chat")

    def read_reply(body: Any) -> ReplyRead:
        codec = codec_for_reply(body)
        if codec is None:
            return fallback.read_reply(body) if fallback is not None else ReplyRead((), Summary())
        return codec.read_reply(body)

    return replace(base, read_reply=read_reply, open_stream=lambda: _Sniffer(fallback))


class _Sniffer:
    """Reads each event in the format that it says it is in."""

    def __init__(self, fallback: Codec | None) -> None:
        self._fallback = fallback
        self._readers: dict[str, Reader] = {}

    def read(self, data: Any, event: str | None) -> EventRead:
        codec = codec_for_reply(data) or self._fallback
        if codec is None:
            return EventRead()
        reader = self._readers.get(codec.name)
        if reader is None:
            reader = self._readers[codec.name] = codec.open_stream()
        return reader.read(data, event)
