"""A translated stream under google-genai: its events as the SDK would have cut them from the API's own bytes.

The SDK reads each event as JSON before the seam above gets it, which another
API's stream need not be (its end may be a bare word): so the bytes are read here.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from functools import partial
from typing import Any

from ..codecs import framing_for
from ..codecs.framing import Framing
from ..codecs.parts import dump_json
from ..drivers import aperform, perform
from ..flow import arun, run
from ..route import DECISION_HEADER
from ..screens import Screen
from .logical import LogicalCall

__all__ = ["headers_of", "interpret", "mark", "reword"]


def interpret(call: LogicalCall, response: Any) -> None:
    """Have an SDK's response give the events of its stream, if it has one, in the SDK's own format."""
    stream = response.response_stream
    if stream is None or isinstance(stream, list):
        return
    headers = headers_of(response)
    screen = call.screen(200, headers, judged=False)
    framing = framing_for(headers.get("content-type", "").partition(";")[0])
    if screen is not None and framing is not None:
        marked = partial(mark, response, headers)
        response.segments = partial(_segments, stream, screen, framing, marked)
        response.async_segments = partial(_asegments, stream, screen, framing, marked)


def reword(call: LogicalCall, error: Exception) -> None:
    """Have an error of the SDK's, made of what the gateway answered, say what Google's API would have."""
    found: Any = error
    status, details = getattr(error, "code", None), getattr(error, "details", None)
    if not isinstance(status, int) or status < 400 or not isinstance(details, dict):
        return
    screen = call.screen(status, headers_of(getattr(error, "response", None)))
    if screen is None:
        return
    # Nobody judges an error: nothing is waited for.
    said = run(screen.feed(dump_json(details)), perform) + run(screen.finish(), perform)
    if screen.stopped is not None:
        call.exchange.refused = screen.stopped
        return
    found.details = fault = json.loads(said)
    found.message, found.status = fault["error"]["message"], fault["error"]["status"]
    found.args = (f"{status} {found.status}. {fault}",)


def mark(reply: Any, headers: Mapping[str, str]) -> None:
    """Have a reply's headers bear the mark of a gateway's refusal that is handed on, if ``headers`` came to."""
    if DECISION_HEADER in headers and isinstance(getattr(reply, "headers", None), dict):
        reply.headers[DECISION_HEADER] = headers[DECISION_HEADER]


def headers_of(reply: Any) -> dict[str, str]:
    """The headers of an SDK's reply by lower-case name; the oldest versions do not hand them on."""
    headers = getattr(reply, "headers", None)
    return {name.lower(): str(value) for name, value in headers.items()} if headers else {}


def _segments(stream: Any, screen: Screen, framing: Framing, marked: Callable[[], None]) -> Iterator[Any]:
    splitter = framing.splitter()
    try:
        for chunk in stream.iter_bytes() if hasattr(stream, "iter_bytes") else stream.iter_content(None):
            said = run(screen.feed(chunk), perform)
            marked()
            yield from _events(framing, splitter.feed(said))
            _stand_by(screen)
        said = run(screen.finish(), perform)
        marked()
        yield from _events(framing, splitter.feed(said))
        _stand_by(screen)
    finally:
        stream.close()


async def _asegments(
    stream: Any, screen: Screen, framing: Framing, marked: Callable[[], None]
) -> AsyncIterator[Any]:
    # Who leaves the stream closes the response itself: a generator is finished later than that.
    splitter = framing.splitter()
    async for chunk in _pieces(stream):
        said = await arun(screen.feed(chunk), aperform)
        marked()
        for event in _events(framing, splitter.feed(said)):
            yield event
        _stand_by(screen)
    said = await arun(screen.finish(), aperform)
    marked()
    for event in _events(framing, splitter.feed(said)):
        yield event
    _stand_by(screen)


def _pieces(stream: Any) -> AsyncIterator[bytes]:
    """The bytes of a response of httpx, aiohttp, or google-auth."""
    if hasattr(stream, "aiter_bytes"):
        return aiter(stream.aiter_bytes())
    content = stream.content
    return aiter(content() if callable(content) else content.iter_any())


def _events(framing: Framing, raws: list[bytes]) -> Iterator[Any]:
    for raw in raws:
        event = framing.parse(raw)
        if event.is_json:
            yield event.data


def _stand_by(screen: Screen) -> None:
    if screen.stopped is not None:
        raise screen.stopped
