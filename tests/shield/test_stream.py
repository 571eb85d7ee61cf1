"""Shield's events, in whatever pieces and shapes they come; a stream that decides nothing is no allow."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import pytest
import trio

from highflame_middleware import (
    APIConnectionError,
    APIError,
    AuthenticationError,
    Decision,
    GuardTimeoutError,
    Highflame,
    HighflameError,
    InvalidRequestError,
    InvalidResponseError,
    RateLimitError,
)
from highflame_middleware.shield.events import EventReader
from tests.servers import Answer, Respond, json_answer, stream_answer
from tests.shield.kit import ALLOW, COLOURS, ScriptedShield, html, problem

each_colour = pytest.mark.parametrize("colour", COLOURS)
ASKED = {"content": "hello", "content_type": "prompt", "action": "process_prompt"}
DETECTED = {"name": "pii", "status": "healthy"}


def sse(data: Any, name: str | None = None) -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {data if isinstance(data, str) else json.dumps(data)}\n\n".encode()


def collect(colour: str, client: Highflame, **given: Any) -> list[Any]:
    if colour == "blocking":
        return list(client.guard.stream(**{**ASKED, **given}))

    async def main() -> list[Any]:
        try:
            return [event async for event in client.guard.astream(**{**ASKED, **given})]
        finally:
            await client.aclose()

    return asyncio.run(main()) if colour == "asyncio" else trio.run(main)


SHAPES: dict[str, tuple[list[bytes], list[str]]] = {
    "bare": ([sse(DETECTED, "detector_result"), sse(ALLOW, "decision")], ["detector_result", "decision"]),
    "wrapped": (
        [sse({"type": "detector_result", "data": DETECTED}), sse({"type": "decision", "data": ALLOW})],
        ["detector_result", "decision"],
    ),
    "as the readme has it": (
        [sse(DETECTED, "detection"), sse(ALLOW, "decision"), sse({}, "done")],
        ["detection", "decision"],
    ),
    "a type without data": (
        [sse({"type": "pii", "score": 1}, "detector_result"), sse({"type": "decision", **ALLOW})],
        ["detector_result", "decision"],
    ),
    "no names at all": ([sse(DETECTED), sse(ALLOW)], ["detector_result", "decision"]),
    "comments and other ends": ([b": ping\n\n", sse("[DONE]"), sse(ALLOW, "decision")], ["decision"]),
    "no empty line at the end": ([sse(ALLOW, "decision").rstrip()], ["decision"]),
    "what cannot be read": ([b"data: {\n\n", b"data: \xff\n\n", sse("[1]"), sse(ALLOW, "decision")], ["decision"]),
}


@each_colour
@pytest.mark.parametrize("name", SHAPES)
def test_the_shapes_of_events(there: ScriptedShield, name: str, colour: str) -> None:
    """Defect L: no shape that is documented, or may come, is a crash."""
    frames, types = SHAPES[name]
    there.answers = [stream_answer(frames)]
    with there.client() as client:
        events = collect(colour, client)
    assert [event.type for event in events] == types
    assert events[-1].verdict.allowed
    (seen,) = there.asked
    assert (seen.path, seen.headers["accept"]) == ("/v1/shield/guard/stream", "text/event-stream")


@pytest.mark.parametrize("name", SHAPES)
def test_however_they_are_cut(name: str) -> None:
    frames, types = SHAPES[name]
    raw = b"".join(frames)
    for size in (1, 2, 3, 7, 1000):
        reader = EventReader("hello")
        events = [event for at in range(0, len(raw), size) for event in reader.feed(raw[at : at + size])]
        events += reader.last()
        reader.finish()
        assert [event.type for event in events] == types


def test_a_decision_has_its_offsets_in_characters() -> None:
    verdict = {
        "decision": "modify",
        "redaction_entries": [{"type": "x", "start_pos": 2, "end_pos": 3, "replacement": "#"}],
    }
    (event,) = EventReader("é1").feed(sse(verdict, "decision"))
    assert event.verdict is not None
    assert [(entry.start_pos, entry.end_pos) for entry in event.verdict.redaction_entries] == [(1, 2)]


FAULTS: dict[str, tuple[Respond, type[HighflameError]]] = {
    "an end without a decision": (stream_answer([sse(DETECTED)]), InvalidResponseError),
    "nothing": (stream_answer([]), InvalidResponseError),
    "a page": (html(200), InvalidResponseError),
    "a decision that is none": (stream_answer([sse({"a": 1}, "decision")]), InvalidResponseError),
    "an error as an event": (stream_answer([sse({"detail": "secret"}, "error")]), APIError),
    "a connection that breaks": (stream_answer([sse(DETECTED)], cut=True), APIConnectionError),
    "401": (problem(401), AuthenticationError),
    "429": (problem(429), RateLimitError),
    "503": (problem(503), APIError),
    "a compressed stream": (
        json_answer(b"x", content_encoding="gzip", content_type="text/event-stream"),
        InvalidResponseError,
    ),
}


@each_colour
@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_an_error_of_its_own(there: ScriptedShield, name: str, colour: str) -> None:
    answer, kind = FAULTS[name]
    there.answers = [answer]
    with there.client(max_retries=0) as client, pytest.raises(kind) as caught:
        collect(colour, client)
    assert type(caught.value) is kind
    assert "secret" not in str(caught.value)


@each_colour
def test_it_is_tried_again_before_its_first_byte(there: ScriptedShield, colour: str) -> None:
    there.answers = [problem(503), problem(401), stream_answer([sse(ALLOW, "decision")])]
    with there.client() as client:
        assert [event.type for event in collect(colour, client)] == ["decision"]
    assert len(there.exchanges) == 2


@each_colour
def test_a_step_up_by_its_status_is_the_decision(there: ScriptedShield, colour: str) -> None:
    there.answers = [json_answer({"decision": "step_up", "auth_req_id": "q"}, 401)]
    with there.client() as client:
        (event,) = collect(colour, client)
    assert event.verdict.decision is Decision.STEP_UP


@each_colour
def test_a_stream_that_hangs_ends_with_the_total(there: ScriptedShield, colour: str) -> None:
    there.answers = [stream_answer([sse(DETECTED)], hang=True)]
    began = time.monotonic()
    with there.client() as client, pytest.raises(GuardTimeoutError):
        collect(colour, client, timeout=0.5)
    assert time.monotonic() - began < 2.0


def test_what_cannot_be_asked_is_told_at_once(there: ScriptedShield) -> None:
    with there.client() as client:
        for stream in (client.guard.stream, client.guard.astream):
            with pytest.raises(InvalidRequestError):
                stream(content="")  # type: ignore[operator]


@pytest.mark.parametrize("run", [asyncio.run, lambda main: trio.run(lambda: main)], ids=["asyncio", "trio"])
def test_who_leaves_early_leaves_nothing_open(there: ScriptedShield, run: Callable[[Any], Any]) -> None:
    there.answers = [stream_answer([sse(DETECTED), sse(DETECTED)], hang=True)]

    async def main() -> None:
        async with there.client() as client, aclosing(client.guard.astream(**ASKED)) as events:
            async for _ in events:
                break

    run(main())
    assert there.server.left.wait(5)


def test_who_leaves_early_leaves_nothing_open_blocking(there: ScriptedShield) -> None:
    there.answers = [lambda seen: Answer(200, (("content-type", "text/event-stream"),), [sse(DETECTED)], hang=True)]
    with there.client() as client:
        events = client.guard.stream(**ASKED)
        next(events)
        events.close()
        assert there.server.left.wait(5)
