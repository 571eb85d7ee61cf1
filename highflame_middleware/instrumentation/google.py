"""The seam of google-genai: four methods of one client class, above whichever HTTP library it has found.

``request`` and its three kin are called once per logical call, whatever its
retries, with the wire JSON, and give back the reply's text before anything
reads it. ``_build_request`` makes of a call what will be sent: it is asked
first, so that what is judged is what is sent, and again by the method itself,
which is then given the request as it has been readdressed and edited.
"""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import chain
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from ..bodies import AsyncGuardedEvents, EventForm, GuardedEvents
from ..codecs.lines import SEGMENTS
from ..codecs.parts import Codec, dump_json
from ..drivers import aperform, perform
from ..errors import HighflameError, UnreadableError
from ..exchange import Exchange
from ..flow import Flow, arun, run
from ..pipeline import guarded
from ..route import Origin
from ..screens import EventScreen, JsonScreen, Screen
from .logical import Address, Door, LogicalCall
from .patches import Patches
from .segments import headers_of, interpret, mark, reword

__all__ = ["patch"]

# What ends a stream for the SDK, which would otherwise ask for the rest of a reply that the guard has stopped.
_STOPPED = b'{"candidates":[{"finishReason":"SAFETY"}]}'
_RESUMABLE = (b'"continuationToken"', b'"continuation_token"')


@dataclass(frozen=True, slots=True)
class _Running:
    """The call under way in this context: what its method was given, the request made of it, what was answered."""

    client: Any
    body: Any
    request: Any
    responses: list[Any]
    call: LogicalCall


_running: ContextVar[_Running | None] = ContextVar("highflame_google_running", default=None)


def patch(module: ModuleType, spoken: str, patches: Patches, door: Door) -> None:
    """Patch the base client. ``module`` is its ``_api_client``."""
    package = module.__name__.partition(".")[0]
    seam = _Seam(door, spoken)
    for name, wrap in (
        ("_build_request", seam.building),
        ("request", seam.blocking),
        ("request_streamed", seam.streaming),
        ("async_request", seam.asynchronous),
        ("async_request_streamed", seam.asynchronously_streaming),
        ("_request", seam.answering),
        ("_async_request", seam.aanswering),
    ):
        patches.replace_in_tree(module.BaseApiClient, name, package, wrap)


@dataclass(frozen=True, slots=True)
class _Seam:
    """What stands in the place of the client's methods."""

    door: Door
    spoken: str

    def building(self, original: Any) -> Callable[..., Any]:
        """Where the SDK makes a request of a call: for a call under way, the one that was made already."""

        def _build_request(
            client: Any, http_method: str, path: str, request_dict: Any, *rest: Any, **kw: Any
        ) -> Any:
            running = _running.get()
            if running is not None and running.client is client and running.body is request_dict:
                return running.request
            return original.__get__(client, type(client))(http_method, path, request_dict, *rest, **kw)

        return _build_request

    def answering(self, original: Any) -> Callable[..., Any]:
        """Where the SDK gets its response, and reads a stream."""

        def _request(client: Any, *args: Any, **kw: Any) -> Any:
            response = original.__get__(client, type(client))(*args, **kw)
            running = _running.get()
            if running is not None and running.client is client and running.call.translated:
                interpret(running.call, response)
            return response

        return _request

    def aanswering(self, original: Any) -> Callable[..., Awaitable[Any]]:
        """The same, awaited: the SDK holds the response in a cycle, so that a stream that is left stays open."""

        async def _async_request(client: Any, *args: Any, **kw: Any) -> Any:
            response = await original.__get__(client, type(client))(*args, **kw)
            running = _running.get()
            if running is not None and running.client is client:
                running.responses.append(response)
                if running.call.translated:
                    interpret(running.call, response)
            return response

        return _async_request

    def blocking(self, original: Any) -> Callable[..., Any]:
        """A call whose reply is waited for."""

        def request(client: Any, http_method: str, path: str, request_dict: Any, *rest: Any, **kw: Any) -> Any:
            send = original.__get__(client, type(client))
            if not self.door.active() or _is_running(client, request_dict):
                return send(http_method, path, request_dict, *rest, **kw)
            made = _Made(self.door, self.spoken, client, (http_method, path, request_dict, *rest), kw)

            def invoke(body: Any) -> Any:
                with made.sending(body) as sent:
                    reply = send(http_method, path, sent, *rest, **kw)
                return run(_judged(made.call, reply), perform)

            return run(guarded(made.exchange, invoke), perform)

        return request

    def asynchronous(self, original: Any) -> Callable[..., Awaitable[Any]]:
        """The same, awaited."""

        async def request(
            client: Any, http_method: str, path: str, request_dict: Any, *rest: Any, **kw: Any
        ) -> Any:
            send = original.__get__(client, type(client))
            if not self.door.active() or _is_running(client, request_dict):
                return await send(http_method, path, request_dict, *rest, **kw)
            made = _Made(self.door, self.spoken, client, (http_method, path, request_dict, *rest), kw)

            async def invoke(body: Any) -> Any:
                with made.sending(body) as sent:
                    reply = await send(http_method, path, sent, *rest, **kw)
                return await arun(_judged(made.call, reply), aperform)

            return await arun(guarded(made.exchange, invoke), aperform)

        return request

    def streaming(self, original: Any) -> Callable[..., Iterator[Any]]:
        """A call whose reply is a generator, which makes the request when it is first asked."""

        def request(
            client: Any, http_method: str, path: str, request_dict: Any, *rest: Any, **kw: Any
        ) -> Iterator[Any]:
            send = original.__get__(client, type(client))
            if not self.door.active() or _is_running(client, request_dict):
                yield from send(http_method, path, request_dict, *rest, **kw)
                return
            made = _Made(self.door, self.spoken, client, (http_method, path, request_dict, *rest), kw)
            replies = _Replies()

            def invoke(body: Any) -> Any:
                with made.sending(body) as sent:
                    source = send(http_method, path, sent, *rest, **kw)
                    # The request is only made when its first reply is asked for.
                    first = next(source, None)
                begun = source if first is None else chain((first,), source)
                screen = _screen(made.exchange)
                if screen is None:
                    return _Passed(begun, source.close)
                return GuardedEvents(begun, source.close, made.exchange, screen, replies.form)

            events = run(guarded(made.exchange, invoke), perform)
            try:
                yield from events
            except HighflameError:
                if replies.resumable:
                    yield replies.ending()
                raise
            finally:
                events.close()

        return request

    def asynchronously_streaming(self, original: Any) -> Callable[..., Awaitable[Any]]:
        """The same, awaited: the request is made at once."""

        async def request(
            client: Any, http_method: str, path: str, request_dict: Any, *rest: Any, **kw: Any
        ) -> Any:
            send = original.__get__(client, type(client))
            if not self.door.active() or _is_running(client, request_dict):
                return await send(http_method, path, request_dict, *rest, **kw)
            made = _Made(self.door, self.spoken, client, (http_method, path, request_dict, *rest), kw)
            replies = _Replies()

            async def invoke(body: Any) -> Any:
                with made.sending(body) as sent:
                    source = await send(http_method, path, sent, *rest, **kw)
                screen = _screen(made.exchange)
                if screen is None:
                    return source
                return AsyncGuardedEvents(aiter(source), made.aclosing(source), made.exchange, screen, replies.form)

            events = await arun(guarded(made.exchange, invoke), aperform)
            return _handed_on(events, replies) if isinstance(events, AsyncGuardedEvents) else events

        return request


async def _handed_on(events: AsyncGuardedEvents, replies: _Replies) -> AsyncIterator[Any]:
    """The events as a generator: the event loop sees to it that one that is dropped is closed while it runs."""
    try:
        async for reply in events:
            yield reply
    except HighflameError:
        if replies.resumable:
            yield replies.ending()
        raise
    finally:
        await events.aclose()


class _Made:
    """A call of the SDK's: the request that it makes of it, and what this library knows it as."""

    def __init__(self, door: Door, spoken: str, client: Any, given: tuple[Any, ...], options: Any) -> None:
        self._client, self._given = client, given[2]
        self._request = client._build_request(*given, **options)  # noqa: SLF001 - the seam
        origin = _origin(client, self._request.url, given[3] if len(given) > 3 else options.get("http_options"))
        self._raw_path = _raw_path(self._request.url)
        self._responses: list[Any] = []
        self.call = LogicalCall(
            door,
            spoken="vertex" if getattr(client, "vertexai", None) else spoken,
            origin=origin,
            method=str(given[0]).upper(),
            path=self._raw_path.removeprefix(origin.path),
            read_body=self._wire_body,
            headers=(self._request.headers,),
            inside=False,
        )

    @property
    def exchange(self) -> Exchange:
        """The state of the call."""
        return self.call.exchange

    @contextmanager
    def sending(self, body: Any) -> Iterator[Any]:
        """The body to give the SDK's method, which gets the request as it is to be sent when it asks for it."""
        request, sent, call = self._request, self._given, self.call
        if body is not None:
            request.data = sent = call.outgoing(body)
        address = call.address(self._raw_path)
        if address is not None:
            request.url = address.url
            request.headers = _addressed(request.headers, address)
            if address.body is not None:
                request.data = sent = address.body
        token = _running.set(_Running(self._client, sent, request, self._responses, call))
        try:
            with call.attached():
                yield sent
        except Exception as error:
            if call.translated:
                reword(call, error)
            raise
        finally:
            _running.reset(token)

    def aclosing(self, source: Any) -> Callable[[], Awaitable[None]]:
        """What closes a stream and the connection that it comes from, whichever library's that is."""
        responses = self._responses

        async def aclose() -> None:
            await source.aclose()
            for response in responses:
                stream: Any = getattr(response, "response_stream", None)
                if hasattr(stream, "aclose"):
                    await stream.aclose()
                elif hasattr(stream, "close"):
                    stream.close()

        return aclose

    def _wire_body(self) -> Any:
        if isinstance(self._request.data, bytes):
            raise UnreadableError(f"The body of the call to {self._request.url} is bytes: it could not be guarded")
        return self._request.data


class _Addressed(dict[str, str]):
    """A request's headers with ours among them, which stay: the SDK puts its credentials in with each attempt."""

    def __init__(self, headers: Mapping[str, str], ours: Mapping[str, str], names: frozenset[str]) -> None:
        super().__init__({name: value for name, value in headers.items() if name.lower() not in names})
        self.update(ours)
        self._ours, self._names = ours, names

    def __setitem__(self, name: str, value: str) -> None:
        if name.lower() not in self._names:
            super().__setitem__(name, value)

    def copy(self) -> _Addressed:
        """Headers that ours stay in as well: google-auth's sessions put the credentials into a copy."""
        return _Addressed(self, self._ours, self._names)


def _addressed(headers: Mapping[str, str], address: Address) -> _Addressed:
    dropped, ours = address.changes({name.lower(): value for name, value in headers.items()})
    return _Addressed(headers, ours, frozenset(name.lower() for name in (*ours, *dropped)))


class _Replies:
    """The replies of one stream, as bytes and back; and whether the SDK would go on with it after an error."""

    def __init__(self) -> None:
        self.resumable = False
        self.form = EventForm(self._read, _with_body)
        self._last: Any = None

    def ending(self) -> Any:
        """A reply after which the SDK asks for no more."""
        return _with_body(self._last, _STOPPED)

    def _read(self, reply: Any) -> bytes:
        content = _body(reply)
        self.resumable = self.resumable or any(name in content for name in _RESUMABLE)
        self._last = reply
        return content


class _Passed:
    """A stream that nobody reads along with."""

    def __init__(self, source: Iterator[Any], close: Callable[[], None]) -> None:
        self._source, self.close = source, close

    def __iter__(self) -> Iterator[Any]:
        return self._source


def _is_running(client: Any, body: Any) -> bool:
    """Whether this is a call already seen: one patched method calling another, of a base class."""
    running = _running.get()
    return running is not None and running.client is client and running.body is body


def _screen(exchange: Exchange) -> EventScreen | None:
    codec = _reading(exchange)
    return EventScreen(exchange, codec, SEGMENTS) if codec is not None else None


def _judged(call: LogicalCall, reply: Any) -> Flow[Any]:
    """A reply in one piece, as it may be handed on; what stops it is left in the exchange, to be raised there."""
    exchange = call.exchange
    headers = headers_of(reply)
    screen = _whole_screen(call, headers)
    if screen is None:
        return reply
    content = _body(reply)
    out = yield from screen.feed(content)
    out += yield from screen.finish()
    exchange.refused = screen.stopped
    mark(reply, headers)
    held = exchange.policy.holds or call.translated
    return _with_body(reply, out) if held and out != content and screen.stopped is None else reply


def _whole_screen(call: LogicalCall, headers: dict[str, str]) -> Screen | None:
    if call.translated:
        return call.screen(200, headers)
    codec = _reading(call.exchange)
    return JsonScreen(call.exchange, codec) if codec is not None else None


def _reading(exchange: Exchange) -> Codec | None:
    """The codec of replies that there is somebody to read for."""
    wanted = exchange.policy.guard is not None or exchange.recorder.recording
    return exchange.call.codec if wanted else None


def _body(reply: Any) -> bytes:
    """The JSON of a reply; the oldest versions give it parsed."""
    if isinstance(reply, dict):
        return dump_json(reply)
    return (reply.body or "").encode("utf-8", "surrogatepass")


def _with_body(reply: Any, content: bytes) -> Any:
    if isinstance(reply, dict):
        return json.loads(content)
    changed = copy.copy(reply)
    changed.body = content.decode("utf-8", "surrogatepass")
    return changed


def _origin(client: Any, url: str, options: Any) -> Origin:
    """The base URL that a call's URL begins with, whether the client's own or the call's."""
    for given in (options, client._http_options):  # noqa: SLF001 - the seam
        base = given.get("base_url") if isinstance(given, dict) else getattr(given, "base_url", None)
        if base and url.startswith(base.rstrip("/") + "/"):
            return Origin.of(base)
    parts = urlsplit(url)
    return Origin.of(f"{parts.scheme}://{parts.netloc}")


def _raw_path(url: str) -> str:
    """The path and query of a URL, as encoded."""
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path
