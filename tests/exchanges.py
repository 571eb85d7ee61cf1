"""Exchanges without a door: what the pure core needs to run, and what it leaves on record."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from highflame_middleware.caller import CallContext
from highflame_middleware.codecs import load_codec
from highflame_middleware.codecs.parts import Summary
from highflame_middleware.drivers import perform
from highflame_middleware.errors import HighflameError
from highflame_middleware.exchange import Call, Exchange, Policy
from highflame_middleware.flow import run
from highflame_middleware.guard.protocol import bind
from highflame_middleware.guard.verdict import DecisionEvent
from highflame_middleware.screens import Screen, screen_for
from highflame_middleware.telemetry import Recorder
from highflame_middleware.types import Mode


class Record(Recorder):
    """A recorder that keeps what it was told."""

    def __init__(self, *, recording: bool = False) -> None:
        super().__init__(None, CallContext())
        self.events: list[DecisionEvent] = []
        self.summary = Summary()
        self.outcome: list[Any] = []
        self._watched = recording

    @property
    def recording(self) -> bool:
        return self._watched

    def decide(self, event: DecisionEvent) -> None:
        super().decide(event)
        self.events.append(event)

    def summarise(self, summary: Summary) -> None:
        super().summarise(summary)
        self.summary = self.summary.updated(summary)

    def end(self) -> None:
        self.outcome.append("end")

    def fail(self, error: BaseException) -> None:
        self.outcome.append(error)


def exchange(
    guard: Any,
    *,
    mode: Mode | str = Mode.ENFORCE,
    fail_open: bool = False,
    stream: str = "buffer",
    codec: str = "openai-chat",
    recording: bool = False,
    **call: Any,
) -> Exchange:
    policy = Policy(
        guard=bind(guard) if guard is not None else None, mode=Mode(mode), fail_open=fail_open, stream=stream
    )
    given = {"provider": "openai", "method": "POST", "path": "/v1/chat/completions", "codec": load_codec(codec)}
    return Exchange(Call(**{**given, **call}), policy, Record(recording=recording))


def events_of(owner: Exchange) -> list[DecisionEvent]:
    assert isinstance(owner.recorder, Record)
    return owner.recorder.events


def decisions(owner: Exchange) -> list[tuple[str, str, bool]]:
    """Each decision on record: where, what, and whether it was enforced."""
    return [(event.stage.value, event.decision, event.enforced) for event in events_of(owner)]


@dataclass
class Passed:
    """What came out of a screen: the bytes after each chunk, and why it stopped if it did."""

    pieces: list[bytes] = field(default_factory=list)
    stopped: HighflameError | None = None

    @property
    def content(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def error(self) -> str | None:
        return type(self.stopped).__name__ if self.stopped is not None else None


def passed(screen: Screen, chunks: Iterable[bytes]) -> Passed:
    """Read a body through a screen, as the doors do: until it ends or the screen stops."""
    out = Passed()
    for chunk in chunks:
        out.pieces.append(run(screen.feed(chunk), perform))
        if screen.stopped is not None:
            break
    else:
        out.pieces.append(run(screen.finish(), perform))
    out.stopped = screen.stopped
    return out


def screened(
    owner: Exchange, chunks: Iterable[bytes], kind: str = "text/event-stream", status: int = 200
) -> Passed:
    """Read a reply of a kind through the screen that this kind gets, which must be one."""
    screen = screen_for(owner, status=status, content_type=kind, codec=owner.call.codec)
    assert screen is not None
    return passed(screen, chunks)


def sse(*data: Any, name: str | None = None) -> list[bytes]:
    """Events of JSON data, and of bare text where a string is given."""
    head = f"event: {name}\n" if name else ""
    texts = [item if isinstance(item, str) else json.dumps(item, separators=(",", ":")) for item in data]
    return [f"{head}data: {text}\n\n".encode() for text in texts]


def decoded(content: bytes) -> list[Any]:
    """The JSON data of an event stream that is well-formed and written with LF."""
    out = []
    for event in content.split(b"\n\n"):
        lines = [line[6:] for line in event.split(b"\n") if line.startswith(b"data: ")]
        if lines and lines[0][:1] in (b"{", b"["):
            try:
                out.append(json.loads(b"\n".join(lines)))
            except ValueError:
                continue
    return out


def chat_texts(content: bytes) -> dict[int, str]:
    """What a chat stream says, by choice."""
    said: dict[int, str] = {}
    for data in decoded(content):
        for choice in data["choices"] if isinstance(data, dict) else ():
            said[choice["index"]] = said.get(choice["index"], "") + (choice["delta"].get("content") or "")
    return said


def cuts(content: bytes, sizes: Sequence[int]) -> list[bytes]:
    """A body cut into chunks of these sizes, over and over."""
    out, at, turn = [], 0, 0
    while at < len(content):
        size = sizes[turn % len(sizes)]
        out.append(content[at : at + size])
        at, turn = at + size, turn + 1
    return out
