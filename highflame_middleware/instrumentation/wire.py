"""The wire seam: one request of a call, as httpx or httpx2 sends it.

The two libraries are separate class trees and both may be live in one
process, so everything here takes the module it works on. Only requests that
the logical seam has tagged are touched. The tag survives redirects and auth
flows, which send further requests for the same attempt.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any

from ..answers import AnswerScreen
from ..bodies import AsyncGuardedBody, GuardedBody
from ..codecs.parts import dump_json
from ..exchange import GUARDED
from ..route import taken_off
from ..screens import Screen
from .logical import LogicalCall
from .patches import Patches

__all__ = ["TAG", "Attempt", "patch_wire"]

TAG = "highflame.attempt"


class Attempt:
    """One attempt at a call: where it goes, and whether its request has been readdressed already."""

    __slots__ = ("_sent_to", "call")

    def __init__(self, call: LogicalCall) -> None:
        self.call = call
        self._sent_to: tuple[str, str, int | None] | None = None

    def address(self, module: ModuleType, request: Any) -> None:
        """Point a request at the gateway, in a format that it carries; take our headers off where it left it."""
        if self.call.exchange.refused is not None:
            # Some SDKs ask another model where the first refuses; this refusal is the call's.
            raise self.call.exchange.refused
        if self._sent_to is not None:
            route = self.call.route
            if route is not None and _authority(request.url) != self._sent_to:
                for name in taken_off(route, tuple(request.headers)):
                    request.headers.pop(name, None)
            return
        address = self.call.address(request.url.raw_path.decode("ascii"))
        if address is None:
            return
        request.url = type(request.url)(address.url)
        request.headers["host"] = request.url.netloc.decode("ascii")
        dropped, headers = address.changes(request.headers)
        for name in dropped:
            request.headers.pop(name, None)
        request.headers.update(headers)
        if address.body is not None:
            _rewrite(module, request, dump_json(address.body))
        self._sent_to = _authority(request.url)


def patch_wire(module: ModuleType, patches: Patches, active: Callable[[], bool]) -> None:
    """Patch the clients of httpx or httpx2: below their auth flows and redirects, above their transports."""

    def blocking(original: Any) -> Callable[..., Any]:
        def _send_single_request(self: Any, request: Any) -> Any:
            attempt: Attempt | None = request.extensions.get(TAG)
            if attempt is None or not active():
                return original(self, request)
            attempt.address(module, request)
            with _untagged(request):
                response = original(attempt.call.senders(module, self)[0], request)
            return _guard(module, attempt.call, response)

        return _send_single_request

    def asynchronous(original: Any) -> Callable[..., Awaitable[Any]]:
        async def _send_single_request(self: Any, request: Any) -> Any:
            attempt: Attempt | None = request.extensions.get(TAG)
            if attempt is None or not active():
                return await original(self, request)
            attempt.address(module, request)
            with _untagged(request):
                response = await original(attempt.call.senders(module, self)[1], request)
            return await _aguard(module, attempt.call, response)

        return _send_single_request

    patches.replace(module.Client, "_send_single_request", blocking)
    patches.replace(module.AsyncClient, "_send_single_request", asynchronous)


def _guard(module: ModuleType, call: LogicalCall, response: Any) -> Any:
    screen = call.screen(response.status_code, response.headers)
    if screen is None:
        return response
    if response.is_closed:
        # Some transports answer with a body that is read already: there is no stream left to stand under.
        source, close = iter((response.content,)), response.close
    elif "content-encoding" in response.headers:
        inner = module.Response(response.status_code, headers=response.headers, stream=response.stream)
        source, close = inner.iter_bytes(), inner.close
    else:
        source, close = iter(response.stream), response.stream.close
    body = _stream_types(module)[0](source, close, call.exchange, screen)
    if _presses(screen, response):
        body.prime()
    return _restreamed(module, _settled(call, response), body)


async def _aguard(module: ModuleType, call: LogicalCall, response: Any) -> Any:
    screen = call.screen(response.status_code, response.headers)
    if screen is None:
        return response
    if response.is_closed:
        source, aclose = _once(response.content), response.aclose
    elif "content-encoding" in response.headers:
        inner = module.Response(response.status_code, headers=response.headers, stream=response.stream)
        source, aclose = inner.aiter_bytes(), inner.aclose
    else:
        source, aclose = aiter(response.stream), response.stream.aclose
    body = _stream_types(module)[1](source, aclose, call.exchange, screen)
    if _presses(screen, response):
        await body.prime()
    return _restreamed(module, _settled(call, response), body)


async def _once(content: bytes) -> Any:
    yield content


def _presses(screen: Screen, response: Any) -> bool:
    """Whether it must be known at once if a gateway refuses: an SDK looks at an error's status, and tries again."""
    return isinstance(screen, AnswerScreen) and (response.status_code >= 400 or response.is_closed)


def _settled(call: LogicalCall, response: Any) -> Any:
    """The response, as a success where what stands in it now is a refusal: an error would be tried again."""
    if call.exchange.refused is not None and response.status_code >= 400:
        response.status_code = 200
        response.headers["content-type"] = "application/json"
    return response


def _restreamed(module: ModuleType, response: Any, stream: Any) -> Any:
    """The response with our stream under it: decoded bytes, so no encoding, and a length that may change."""
    if response.is_closed:
        fresh = module.Response(
            response.status_code,
            headers=response.headers,
            stream=stream,
            extensions=response.extensions,
            request=response.request,
        )
        fresh.default_encoding = response.default_encoding
        response = fresh
    else:
        # httpx2 asks the stream how long the response took.
        stream.timed = response.stream
        response.stream = stream
    response.headers.pop("content-encoding", None)
    response.headers.pop("content-length", None)
    return response


@cache
def _stream_types(module: ModuleType) -> tuple[type[GuardedBody], type[AsyncGuardedBody]]:
    """The guarded bodies as streams of this module, whose clients check what they are given."""

    class GuardedStream(GuardedBody, module.SyncByteStream):  # type: ignore[misc, name-defined]
        """A reply's byte stream with the guard in it."""

        timed: Any = None
        elapsed = property(lambda self: getattr(self.timed, "elapsed", None))

    class AsyncGuardedStream(AsyncGuardedBody, module.AsyncByteStream):  # type: ignore[misc, name-defined]
        """A reply's asynchronous byte stream with the guard in it."""

        timed: Any = None
        elapsed = property(lambda self: getattr(self.timed, "elapsed", None))

    return GuardedStream, AsyncGuardedStream


@contextmanager
def _untagged(request: Any) -> Iterator[None]:
    """Transports need not see the tag; what follows from the response, a redirect say, gets it again."""
    tagged = request.extensions
    request.extensions = {name: value for name, value in tagged.items() if name != TAG} | {GUARDED: True}
    try:
        yield
    finally:
        request.extensions = tagged


def _rewrite(module: ModuleType, request: Any, content: bytes) -> None:
    """Another body in a request that is built already: whoever reads it from now on reads this one."""
    for name in ("content-encoding", "transfer-encoding"):
        request.headers.pop(name, None)
    request.headers["content-type"] = "application/json"
    request.headers["content-length"] = str(len(content))
    request.stream = module.ByteStream(content)
    vars(request).pop("_content", None)
    request.read()


def _authority(url: Any) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port
