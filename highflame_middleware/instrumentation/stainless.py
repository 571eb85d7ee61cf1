"""The logical seam of SDKs that are built alike: one method that every call of every resource goes through.

``request`` of the SDK's base client is called once per logical call, whatever
its retries, with the wire JSON in its options. ``_build_request`` is called
once per attempt, and tags what the wire seam may touch.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..caller import current_context
from ..codecs import codec_for_path
from ..codecs.parts import dump_json
from ..config import Settings
from ..drivers import aperform, perform
from ..errors import HighflameError, UnreadableError
from ..exchange import Policy
from ..flow import arun, run
from ..pipeline import guarded, open_exchange, read_call
from ..route import PROVIDER_HEADER, Origin, choose, deployment_of, provider_name
from .patches import Patches
from .wire import TAG, Attempt

if TYPE_CHECKING:
    from ..gateway import Gateway

__all__ = ["Door", "patch_stainless"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """What the seam needs of the instrumentation: its settings, and the gateway in this process if there is one."""

    settings: Settings
    policy: Policy
    active: Callable[[], bool]
    gateway: Gateway | None = None
    inside: Callable[[ModuleType], tuple[Any, Any]] | None = None


@dataclass(frozen=True, slots=True)
class _Running:
    """The logical call that is under way in this context, and the options its SDK was given."""

    client: Any
    options: Any
    attempt: Callable[[], Attempt]


_running: ContextVar[_Running | None] = ContextVar("highflame_running", default=None)


def patch_stainless(module: ModuleType, package: str, patches: Patches, door: Door) -> None:
    """Patch the base clients of one SDK. ``module`` is its ``_base_client``."""

    def blocking(original: Any) -> Callable[..., Any]:
        def request(self: Any, cast_to: Any, options: Any, *args: Any, **kwargs: Any) -> Any:
            send = original.__get__(self, type(self))
            if not door.active() or _is_running(options):
                return send(cast_to, options, *args, **kwargs)
            call = _LogicalCall(door, self, options)

            def invoke(body: Any) -> Any:
                with call.running(body) as sent:
                    return send(cast_to, sent, *args, **kwargs)

            return run(guarded(call.exchange, invoke), perform)

        return request

    def asynchronous(original: Any) -> Callable[..., Awaitable[Any]]:
        async def request(self: Any, cast_to: Any, options: Any, *args: Any, **kwargs: Any) -> Any:
            send = original.__get__(self, type(self))
            if not door.active() or _is_running(options):
                return await send(cast_to, options, *args, **kwargs)
            call = _LogicalCall(door, self, options)

            async def invoke(body: Any) -> Any:
                with call.running(body) as sent:
                    return await send(cast_to, sent, *args, **kwargs)

            return await arun(guarded(call.exchange, invoke), aperform)

        return request

    def tagging(original: Any) -> Callable[..., Any]:
        def _build_request(self: Any, *args: Any, **kwargs: Any) -> Any:
            request = original.__get__(self, type(self))(*args, **kwargs)
            running = _running.get()
            # A call may make others on the way, for a token say: only requests of its own client are its own.
            if running is not None and running.client is self and door.active():
                request.extensions = {**request.extensions, TAG: running.attempt()}
            return request

        return _build_request

    patches.replace(module.BaseClient, "_build_request", tagging)
    patches.replace_in_tree(module.SyncAPIClient, "request", package, blocking)
    patches.replace_in_tree(module.AsyncAPIClient, "request", package, asynchronous)


def _is_running(options: Any) -> bool:
    """Whether this is a call already seen: one patched ``request`` calling another, of a base class."""
    running = _running.get()
    return running is not None and running.options is options


class _LogicalCall:
    """One call of an SDK: read from its options, and its options again with what the guard made of it."""

    def __init__(self, door: Door, client: Any, options: Any) -> None:
        self._door, self._client, self._options = door, client, options
        self._origin, path = _destination(client, options.url)
        codec = codec_for_path(path)
        self._body = None
        if codec is not None:
            try:
                self._body = _wire_body(options)
            except UnreadableError:
                if door.policy.strict:
                    raise
                codec = None
        caller = current_context()
        call = read_call(
            provider=provider_name(self._origin),
            method=str(options.method).upper(),
            path=path.partition("?")[0],
            codec=codec,
            body=self._body,
            caller=caller,
            model=deployment_of(self._origin, path),
        )
        self._route = choose(self._origin, call.model, door.settings, caller)
        if self._route is not None and self._route.embedded and not self._taken(call.model):
            self._route = None
        server = self._origin
        if self._route is not None and not self._route.embedded:
            server = Origin.of(self._route.base_url)
        self.exchange = open_exchange(call, door.policy, server=server.host, port=server.port)
        if self._route is not None:
            self.exchange.recorder.annotate("gateway", self._route.dialect)

    @contextmanager
    def running(self, body: Any) -> Iterator[Any]:
        """The options to give the SDK, while what it builds and sends belongs to this call."""
        route = self._route
        if route is not None and route.model is not None and isinstance(body, Mapping):
            body = {**body, "model": route.model}
        sent = self._options if body is self._body else _with_body(self._options, body)
        token = _running.set(_Running(self._client, sent, self._attempt))
        try:
            with self.exchange.recorder.attached():
                yield sent
        except HighflameError:
            raise
        except Exception as error:
            if route is not None and not route.embedded:
                error.add_note(
                    f"This call went to the {route.dialect} gateway at {route.base_url} (highflame_middleware)"
                )
            raise
        finally:
            _running.reset(token)

    def _taken(self, model: str | None) -> bool:
        """Whether a provider of the gateway in this process is meant; else the client's own way is as good."""
        gateway = self._door.gateway
        given = (self._options.headers, self._client.default_headers)
        named = any(
            isinstance(name, str) and name.lower() == PROVIDER_HEADER
            for headers in given
            if isinstance(headers, Mapping)
            for name in headers
        )
        return gateway is not None and (named or gateway.takes(model))

    def _attempt(self) -> Attempt:
        return Attempt(self.exchange, self._origin, self._route, self._door.inside)


def _destination(client: Any, url: str) -> tuple[Origin, str]:
    """The base URL that a call's URL is relative to, and the path from there."""
    azure = any(base.__name__ == "BaseAzureClient" for base in type(client).__mro__)
    origin = Origin.of(str(client.base_url), azure=azure)
    if "://" not in url:
        return origin, "/" + url.lstrip("/")
    absolute = Origin.of(url)
    path = url.split("://", 1)[1].partition("/")[2]
    if (absolute.scheme, absolute.address) == (origin.scheme, origin.address):
        return origin, ("/" + path).removeprefix(origin.path)
    return Origin(scheme=absolute.scheme, host=absolute.host, port=absolute.port), "/" + path


def _wire_body(options: Any) -> Any:
    """The JSON that the SDK will send, extra fields merged in, as plain data."""
    content = getattr(options, "content", None)
    if content is not None:
        return _parsed(content, options.url)
    body, extra = options.json_data, options.extra_json
    if isinstance(body, bytes):
        return _parsed(body, options.url)
    if extra is not None:
        body = {**body, **extra} if isinstance(body, Mapping) else extra if body is None else body
    return _plain(body)


def _parsed(content: Any, url: str) -> Any:
    if not isinstance(content, str | bytes | bytearray):
        raise UnreadableError(
            f"The body of the call to {url} is a stream, which cannot be read before it is sent: give it as bytes"
        )
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise UnreadableError(f"The body of the call to {url} is not JSON: it could not be guarded") from None


def _plain(value: Any) -> Any:
    """``value`` itself where it is plain JSON; otherwise as the SDK would write it: no omissions, no models."""
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, Mapping):
        changed = {key: _plain(child) for key, child in value.items() if not _omitted(child)}
        same = len(changed) == len(value) and all(changed[key] is value[key] for key in changed)
        return value if same and isinstance(value, dict) else changed
    if isinstance(value, list | tuple):
        items = [_plain(child) for child in value]
        return value if all(new is old for new, old in zip(items, value, strict=True)) else items
    if callable(dump := getattr(value, "model_dump", None) or getattr(value, "dict", None)):
        return dump(exclude_unset=True)
    return value


def _omitted(value: Any) -> bool:
    return type(value).__name__ in ("Omit", "NotGiven")


def _with_body(options: Any, body: Any) -> Any:
    """A copy of an SDK's options that sends this body and nothing beside it."""
    sent = copy.copy(options)
    if getattr(options, "content", None) is not None:
        sent.content = dump_json(body)
    else:
        sent.json_data = body
        sent.extra_json = None
    return sent
