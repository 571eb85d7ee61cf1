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
from functools import partial
from types import ModuleType
from typing import Any

from ..codecs.parts import dump_json
from ..drivers import aperform, perform
from ..errors import UnreadableError
from ..flow import arun, run
from ..pipeline import guarded
from ..route import Origin
from ..telemetry import SilentRecorder
from .logical import Door, LogicalCall
from .patches import Patches
from .wire import TAG, Attempt

__all__ = ["patch"]


@dataclass(frozen=True, slots=True)
class _Running:
    """The logical call that is under way in this context, and the options its SDK was given."""

    client: Any
    options: Any
    call: LogicalCall


# The beginnings of content types of bodies without a text.
_WORDLESS = ("application/sdp", "audio/", "image/", "video/")

_running: ContextVar[_Running | None] = ContextVar("highflame_running", default=None)


def patch(module: ModuleType, spoken: str, patches: Patches, door: Door) -> None:
    """Patch the base clients of one SDK. ``module`` is its ``_base_client``."""
    package = module.__name__.partition(".")[0]

    def blocking(original: Any) -> Callable[..., Any]:
        def request(self: Any, cast_to: Any, options: Any, *args: Any, **kwargs: Any) -> Any:
            send = original.__get__(self, type(self))
            if not door.active() or _is_running(options):
                return send(cast_to, options, *args, **kwargs)
            call = _read(door, self, options, spoken)

            def invoke(body: Any) -> Any:
                with _sending(call, self, options, body) as sent:
                    return send(cast_to, sent, *args, **kwargs)

            return run(guarded(call.exchange, invoke), perform)

        return request

    def asynchronous(original: Any) -> Callable[..., Awaitable[Any]]:
        async def request(self: Any, cast_to: Any, options: Any, *args: Any, **kwargs: Any) -> Any:
            send = original.__get__(self, type(self))
            if not door.active() or _is_running(options):
                return await send(cast_to, options, *args, **kwargs)
            call = _read(door, self, options, spoken)

            async def invoke(body: Any) -> Any:
                with _sending(call, self, options, body) as sent:
                    return await send(cast_to, sent, *args, **kwargs)

            return await arun(guarded(call.exchange, invoke), aperform)

        return request

    def tagging(original: Any) -> Callable[..., Any]:
        def _build_request(self: Any, *args: Any, **kwargs: Any) -> Any:
            request = original.__get__(self, type(self))(*args, **kwargs)
            running = _running.get()
            # A call may make others on the way, for a token say: only requests of its own client are its own.
            if running is not None and running.client is self and door.active():
                request.extensions = {**request.extensions, TAG: Attempt(running.call)}
            return request

        return _build_request

    patches.replace(module.BaseClient, "_build_request", tagging)
    patches.replace_in_tree(module.SyncAPIClient, "request", package, blocking)
    patches.replace_in_tree(module.AsyncAPIClient, "request", package, asynchronous)


def _is_running(options: Any) -> bool:
    """Whether this is a call already seen: one patched ``request`` calling another, of a base class."""
    running = _running.get()
    return running is not None and running.options is options


@contextmanager
def _sending(call: LogicalCall, client: Any, options: Any, body: Any) -> Iterator[Any]:
    """The options to give the SDK, while what its client builds and sends belongs to this call."""
    body = call.outgoing(body)
    sent = options if body is call.body else _with_body(options, body)
    recorder = call.exchange.recorder
    if getattr(sent, "span_name", None) is not None and (
        recorder.recording or isinstance(recorder, SilentRecorder)
    ):
        # Some SDKs make a span of each call themselves: this call has its span already, or is to have none.
        sent = copy.copy(sent)
        sent.span_name = None
    token = _running.set(_Running(client, sent, call))
    try:
        with call.attached():
            yield sent
    finally:
        _running.reset(token)


def _read(door: Door, client: Any, options: Any, spoken: str) -> LogicalCall:
    origin, path = _destination(client, options.url)
    return LogicalCall(
        door,
        spoken=spoken,
        origin=origin,
        method=str(options.method).upper(),
        path=path,
        read_body=partial(_wire_body, options),
        headers=(options.headers, client.default_headers),
    )


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
        return None if _declared(options).startswith(_WORDLESS) else _parsed(content, options.url)
    body, extra = options.json_data, options.extra_json
    if isinstance(body, bytes):
        return _parsed(body, options.url)
    if extra is not None:
        body = {**body, **extra} if isinstance(body, Mapping) else extra if body is None else body
    if fields := _fields(options):
        body = {**(body or {}), **{name: value for name, (_, value) in fields.items()}}
    return _plain(body)


def _declared(options: Any) -> str:
    """The content type that a call gives its body itself."""
    headers = options.headers if isinstance(options.headers, Mapping) else {}
    return next((str(value).lower() for name, value in headers.items() if name.lower() == "content-type"), "")


def _fields(options: Any) -> dict[str, tuple[int, Any]]:
    """The parts of a form that stand among its files and are none: by name, where they are and what they say.

    An SDK puts there what is to have a content type of its own; JSON among it is read as JSON.
    """
    files = getattr(options, "files", None)
    found: dict[str, tuple[int, Any]] = {}
    for index, (name, part) in enumerate(files.items() if isinstance(files, Mapping) else files or ()):
        if not isinstance(part, tuple) or len(part) < 2 or part[0] is not None:
            continue
        content = part[1].decode("utf-8", "replace") if isinstance(part[1], bytes) else part[1]
        if not isinstance(content, str):
            continue
        if name in found or name in (options.json_data or ()):
            raise UnreadableError(f"The form of the call to {options.url} names a field twice: {name}")
        is_json = len(part) > 2 and str(part[2]).partition(";")[0].strip() == "application/json"
        found[name] = (index, _parsed(content, options.url) if is_json else content)
    return found


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
        return sent
    if fields := _fields(options):
        files = list(options.files.items() if isinstance(options.files, Mapping) else options.files)
        for name, (index, value) in fields.items():
            said = body.get(name)
            if said != value:
                written = said.encode() if isinstance(said, str) else dump_json(said)
                files[index] = (name, (None, written, *files[index][1][2:]))
        sent.files = files
        body = {name: value for name, value in body.items() if name not in fields} or None
    sent.json_data = body
    sent.extra_json = None
    return sent
