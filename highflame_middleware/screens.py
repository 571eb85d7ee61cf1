"""The guard on a reply's bytes, under whatever parses them: bytes in, judged bytes out.

A *screen* is a flow per chunk, so that one text serves blocking and
asynchronous readers. It passes every byte that nothing has to change exactly
as it came. Where the policy does not hold texts back (monitor, alert, no
guard) the bytes pass at once and the screen only reads along.

A stream is a queue of events. Each text in an event is a piece of a channel
(one choice's content, one tool call's arguments) whose gauge says how far it
is cleared; an event leaves the queue when all its pieces are, in order.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Protocol, TypeAlias

from .codecs import framing_for
from .codecs.framing import Event, Framing
from .codecs.parts import Channel, Codec, EventRead, Path, Text, dump_json, edits_of, rewrite
from .errors import GuardError, HighflameError, UnreadableError
from .exchange import Exchange, judge
from .flow import Flow
from .gauges import Gauge, Step, gauge_for
from .guard.redaction import apply_entries
from .guard.verdict import worst
from .types import RedactionEntry, Stage

__all__ = ["EventScreen", "JsonScreen", "Screen", "refusal_of", "screen_for"]

# The most of one reply that is ever held in memory to be judged; beyond it the failure policy speaks.
MAX_HELD = 32 * 1024 * 1024


class Screen(Protocol):
    """Guards one reply. ``stopped`` is why it ends here, once what was cleared before has been passed on."""

    stopped: HighflameError | None

    def feed(self, chunk: bytes) -> Flow[bytes]:
        """Take a chunk of the body; give what may be passed on now."""
        ...

    def finish(self) -> Flow[bytes]:
        """The body has ended; give the rest."""
        ...

    def refusal(self, error: HighflameError) -> bytes:
        """What to put in place of the rest, for a reader that cannot be handed an error."""
        ...


def screen_for(exchange: Exchange, *, status: int, content_type: str | None, codec: Codec | None) -> Screen | None:
    """The screen for a reply, or nothing where there is nothing to read or nobody to read it for."""
    policy, recorder = exchange.policy, exchange.recorder
    if codec is None or not 200 <= status < 300 or status in (204, 205):
        return None
    if policy.guard is None and not recorder.recording:
        return None
    kind = (content_type or "").partition(";")[0].strip().lower()
    if not kind:
        kind = "text/event-stream" if exchange.call.stream else "application/json"
    if (framing := framing_for(kind)) is not None:
        return EventScreen(exchange, codec, framing)
    if kind == "application/json" or kind.endswith("+json"):
        return JsonScreen(exchange, codec)
    if kind in codec.plain:
        return JsonScreen(exchange, codec, plain=True)
    if kind.startswith(codec.media):
        return None
    error = _unread(
        exchange,
        f"The reply is {kind}, where {codec.name} answers in JSON or events: it could not be guarded. "
        "Does the gateway's or the client's base URL point at the API?",
    )
    return _UnreadableScreen(codec, error) if error is not None else None


def refusal_of(codec: Codec | None, framing: Framing | None, error: HighflameError) -> bytes:
    """What an SDK reads in place of a refusal: nothing of it reaches the caller, to whom the error is raised."""
    if codec is None:
        return b"" if framing is not None else b"{}"
    if framing is not None:
        return framing.write_error(*codec.fail(str(error), "highflame_blocked"))
    return dump_json(codec.refuse(str(error)))


def _unread(exchange: Exchange, why: str) -> UnreadableError | None:
    """What cannot be read cannot be judged: why to stop, or nothing where the policy lets it pass."""
    policy = exchange.policy
    if policy.guard is None:
        return None
    exchange.note(Text((), "", Stage.RESPONSE, "assistant"), GuardError(why), enforced=policy.strict)
    return UnreadableError(why) if policy.strict else None


class JsonScreen:
    """A reply in one piece: held until it is whole, read, judged, and edited where the guard says so.

    A ``plain`` one is all text, and read as if it stood there as a JSON string.
    """

    def __init__(self, exchange: Exchange, codec: Codec, *, plain: bool = False) -> None:
        self.stopped: HighflameError | None = None
        self._exchange, self._codec = exchange, codec
        self._kind = "UTF-8" if plain else "JSON"
        self._parse: Callable[[bytes], Any] = bytes.decode if plain else json.loads
        self._dump: Callable[[Any], bytes] = _encode if plain else dump_json
        self._holds = exchange.policy.holds
        self._body = bytearray()
        self._overflowed = False

    def feed(self, chunk: bytes) -> Flow[bytes]:
        yield from ()
        if self.stopped is not None:
            return b""
        if self._overflowed:
            return chunk
        self._body += chunk
        if len(self._body) > MAX_HELD:
            self._overflowed = True
            held = self._give_up(f"is longer than {MAX_HELD} bytes")
            self._body.clear()
            return held if self._holds else chunk
        return b"" if self._holds else chunk

    def finish(self) -> Flow[bytes]:
        if self.stopped is not None or self._overflowed or not self._body:
            return b""
        raw = bytes(self._body)
        try:
            body = self._parse(raw)
        except (ValueError, RecursionError):
            return self._give_up(f"is not {self._kind}, though it says so")
        read = self._codec.read_reply(body)
        self._exchange.recorder.summarise(read.summary)
        rulings = yield from judge(self._exchange, read.texts)
        if not self._holds:
            return b""
        self.stopped = worst([ruling.error for ruling in rulings if ruling.error is not None])
        if self.stopped is not None:
            return b""
        edits = [
            (text, ruling.text)
            for text, ruling in zip(read.texts, rulings, strict=False)
            if ruling.text is not None
        ]
        try:
            return self._dump(rewrite(body, edits_of(edits))) if edits else raw
        except RecursionError:
            return self._give_up("is nested too deeply to be written again")

    def refusal(self, error: HighflameError) -> bytes:
        return dump_json(self._codec.refuse(str(error)))

    def _give_up(self, why: str) -> bytes:
        """The body cannot be judged: stop, or where the policy is to fail open let it pass."""
        self.stopped = _unread(
            self._exchange, f"The reply to {self._exchange.call.path} {why}: it could not be guarded"
        )
        return bytes(self._body) if self._holds and self.stopped is None else b""


def _encode(text: Any) -> bytes:
    return str(text).encode("utf-8", "replace")


class _UnreadableScreen:
    """A successful reply in a type that this API never answers in: nothing of it is passed on."""

    def __init__(self, codec: Codec, error: UnreadableError) -> None:
        self._codec = codec
        self.stopped: HighflameError | None = error

    def feed(self, chunk: bytes) -> Flow[bytes]:  # noqa: ARG002
        yield from ()
        return b""

    def finish(self) -> Flow[bytes]:
        yield from ()
        return b""

    def refusal(self, error: HighflameError) -> bytes:
        return dump_json(self._codec.refuse(str(error)))


class EventScreen:
    """A reply as a stream of events, judged while it streams."""

    def __init__(self, exchange: Exchange, codec: Codec, framing: Framing) -> None:
        self.stopped: HighflameError | None = None
        # Whether the reply has said that it ends here, whatever bytes are still to come.
        self.concluded = False
        self._exchange, self._codec, self._framing = exchange, codec, framing
        self._guards = exchange.policy.guard is not None
        self._holds = exchange.policy.holds
        self._splitter = framing.splitter()
        self._reader = codec.open_stream()
        self._channels: dict[Channel, _Channel] = {}
        self._queue: deque[_Held] = deque()
        self._held = 0
        self._written = 0
        self._judged: dict[_Said, str] = {}
        self._blind = False
        self._untold = True
        self._unread = False

    def feed(self, chunk: bytes) -> Flow[bytes]:
        return b"".join((yield from self.advance(chunk)))

    def finish(self) -> Flow[bytes]:
        return b"".join((yield from self.conclude()))

    def advance(self, chunk: bytes) -> Flow[list[bytes]]:
        """`feed`, event by event: for readers that are handed events and not bytes."""
        self._exchange.recorder.first_chunk()
        if self._ended():
            return []
        if self._blind:
            return [chunk]
        try:
            events = self._splitter.feed(chunk)
        except ValueError as error:
            return self._go_blind(chunk, f"The reply's stream cannot be read ({error}): it could not be guarded")
        for raw in events:
            yield from self._take(raw)
            if self.stopped is not None:
                return self._release()
        if max(self._held + self._splitter.pending, self._written) > MAX_HELD:
            return self._go_blind(chunk, f"The stream cannot be guarded with the {MAX_HELD} bytes kept for it")
        return self._release() if self._holds else [chunk]

    def conclude(self) -> Flow[list[bytes]]:
        """`finish`, event by event."""
        if self._blind or self.stopped is not None:
            return []
        if rest := self._splitter.finish():
            yield from self._take(rest)
        yield from self._close_channels(())
        return self._release()

    def refusal(self, error: HighflameError) -> bytes:
        return self._framing.write_error(*self._codec.fail(str(error), "highflame_blocked"))

    @property
    def idle(self) -> bool:
        """Whether nothing is held, and no text is open: what comes next may as well be the beginning."""
        return self.stopped is None and not self._queue and not self._channels and not self._splitter.pending

    def _ended(self) -> bool:
        return self.stopped is not None

    def _take(self, raw: bytes) -> Flow[None]:
        """Read one event and have what it says judged."""
        if not self._guards:
            self._look_at(raw)
            return
        held = _Held(raw)
        if self._holds:
            self._queue.append(held)
            self._held += len(raw)
        read = self._read(held)
        if read is None or self.stopped is not None:
            return
        if read.summary is not None:
            self._exchange.recorder.summarise(read.summary)
        for text in read.texts:
            if text.channel is not None:
                yield from self._extend(text, text.channel, held)
        for prefix in read.closes:
            yield from self._close_channels(prefix)
        if read.terminal:
            yield from self._close_channels(())
        yield from self._repeat([text for text in read.texts if text.channel is None], held)
        self.concluded = self.concluded or read.terminal

    def _look_at(self, raw: bytes) -> None:
        """What an event says of the reply, for telemetry alone: parsing each piece of text would be in vain."""
        telling = self._codec.telling
        if telling is None or self._untold or telling.search(raw):
            read = self._read(_Held(raw))
            if read is None:
                return
            self.concluded = self.concluded or read.terminal
            if read.summary is not None:
                self._untold = False
                self._exchange.recorder.summarise(read.summary)

    def _read(self, held: _Held) -> EventRead | None:
        try:
            event = held.event = self._framing.parse(held.raw)
        except ValueError as error:
            self._give_up(
                f"The reply's stream holds an event that cannot be read ({error}): it could not be guarded"
            )
            return None
        if event.text is None:
            return None
        if event.is_json:
            return self._reader.read(event.data, event.name)
        if event.text.strip() == "[DONE]":
            return EventRead(terminal=True)
        # Bare text: an application's own stream, or no events at all; from a model's API it is unheard of,
        # but somebody might read it.
        read = self._reader.read(event.text, event.name)
        texts = read.texts or (Text((), event.text, Stage.RESPONSE, "assistant"),)
        return replace(read, texts=texts, terminal=event.done)

    def _extend(self, text: Text, key: Channel, held: _Held) -> Flow[None]:
        channel = self._channels.get(key)
        if channel is None:
            channel = self._channels[key] = _Channel(self._exchange, text)
        self._written += len(text.value)
        step = yield from channel.extend(text, held if self._holds else None)
        self._apply(channel, step)

    def _close_channels(self, prefix: Channel) -> Flow[None]:
        """The texts whose channel begins with ``prefix`` have ended."""
        for key in [key for key in self._channels if key[: len(prefix)] == prefix]:
            channel = self._channels.pop(key)
            step = yield from channel.finish()
            self._apply(channel, step)
            original, final = channel.texts()
            self._judged[_said(channel.text, original)] = final

    def _apply(self, channel: _Channel, step: Step) -> None:
        if self._holds:
            channel.clear(step)
        if step.error is not None:
            self._stop(step.error)

    def _repeat(self, texts: list[Text], held: _Held) -> Flow[None]:
        """Texts that stand whole in this event: mostly ones that were streamed and judged before."""
        unseen = [text for text in texts if _said(text, text.value) not in self._judged]
        rulings = yield from judge(self._exchange, unseen)
        for text, ruling in zip(unseen, rulings, strict=False):
            self._written += len(text.value)
            self._judged[_said(text, text.value)] = text.value if ruling.text is None else ruling.text
        if not self._holds:
            return
        if error := worst([ruling.error for ruling in rulings if ruling.error is not None]):
            self._stop(error)
        for text in texts:
            if (final := self._judged[_said(text, text.value)]) != text.value:
                held.replace(text, final)

    def _give_up(self, why: str) -> None:
        """Something cannot be judged: stop, or where the policy is to fail open let it pass."""
        error = _unread(self._exchange, why) if not self._unread else None
        self._unread = True
        if error is not None:
            self._stop(error)

    def _stop(self, error: HighflameError) -> None:
        """End the stream here, before the event that is being read."""
        if self.stopped is None:
            self.stopped = error
            if self._queue:
                self._queue[-1].waiting += 1

    def _release(self) -> list[bytes]:
        """The events, from the front of the queue, in which everything is cleared."""
        out = []
        while self._queue and not self._queue[0].waiting:
            held = self._queue.popleft()
            self._held -= len(held.raw)
            out.append(held.render(self._framing))
        return out

    def _go_blind(self, chunk: bytes, why: str) -> list[bytes]:
        """The rest cannot be judged: stop, or where the policy is to fail open let all of it pass."""
        self._blind = True
        self._give_up(why)
        if self.stopped is not None:
            return self._release()
        rest = [chunk]
        if self._holds:
            rest = [*(held.render(self._framing) for held in self._queue), self._splitter.finish()]
        self._queue.clear()
        self._channels.clear()
        self._judged.clear()
        return rest


# A text and what it is: the same words are another matter as the arguments of another tool.
_Said: TypeAlias = tuple[Stage, str | None, str]


def _said(text: Text, value: str) -> _Said:
    return (text.stage, text.tool, value)


class _Held:
    """An event that waits: ``waiting`` counts the pieces in it that are not cleared yet."""

    __slots__ = ("_cuts", "_wholes", "event", "raw", "waiting")

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.event: Event | None = None
        self.waiting = 0
        self._cuts: dict[Path, tuple[Text, list[RedactionEntry]]] = {}
        self._wholes: dict[Path, tuple[Text, str]] = {}

    def cut(self, text: Text, entry: RedactionEntry) -> None:
        """Change a span of a text in this event."""
        self._cuts.setdefault(text.path, (text, []))[1].append(entry)

    def replace(self, text: Text, value: str) -> None:
        """Change a whole text in this event."""
        self._wholes[text.path] = (text, value)

    def render(self, framing: Framing) -> bytes:
        """The event's bytes, untouched where nothing in it changes."""
        if not self._cuts and not self._wholes:
            return self.raw
        assert self.event is not None
        event = self.event
        data: Any = event.data if event.is_json else event.text
        return framing.render(event, rewrite(data, edits_of([*self._wholes.values(), *self._trimmed()])))

    def _trimmed(self) -> Iterator[tuple[Text, str]]:
        for text, entries in self._cuts.values():
            yield text, apply_entries(text.value, entries) or ""


class _Channel:
    """One growing text: where its pieces stand, and the gauge that clears it."""

    __slots__ = ("_entries", "_gauge", "_length", "_pieces", "_written", "text")

    def __init__(self, exchange: Exchange, text: Text) -> None:
        self.text = text
        self._written: list[str] = []
        self._gauge: Gauge = gauge_for(exchange, text, self._written)
        self._pieces: deque[tuple[int, int, Text, _Held]] = deque()
        self._entries: list[RedactionEntry] = []
        self._length = 0

    def extend(self, text: Text, held: _Held | None) -> Flow[Step]:
        start = self._length
        self._length += len(text.value)
        self._written.append(text.value)
        if held is not None:
            self._pieces.append((start, self._length, text, held))
            held.waiting += 1
        return self._gauge.feed(text.value)

    def finish(self) -> Flow[Step]:
        return self._gauge.finish()

    def clear(self, step: Step) -> None:
        """Put the step's redactions into the pieces they touch, and let the cleared pieces go."""
        self._entries.extend(step.entries)
        for entry in step.entries:
            replacement = entry.replacement
            for start, end, text, held in self._pieces:
                if start > entry.end_pos:
                    break
                # The first piece takes the replacement; the others only lose their share.
                first, last = max(entry.start_pos, start) - start, min(entry.end_pos, end) - start
                if first < last or (entry.start_pos == entry.end_pos and first == last and replacement):
                    held.cut(text, _span(entry.type, first, last, replacement))
                    replacement = ""
        while self._pieces and step.error is None and self._pieces[0][1] <= step.cleared:
            self._pieces.popleft()[3].waiting -= 1

    def texts(self) -> tuple[str, str]:
        """The text as it came and as it went on."""
        original = "".join(self._written)
        return original, apply_entries(original, self._entries) or ("" if self._entries else original)


def _span(kind: str, start: int, end: int, replacement: str) -> RedactionEntry:
    return RedactionEntry(type=kind, start_pos=start, end_pos=end, replacement=replacement)
