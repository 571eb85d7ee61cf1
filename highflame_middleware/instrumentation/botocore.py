"""The seams of botocore and aiobotocore, for Bedrock alone of all of Amazon's services.

``_make_api_call`` of a client is called once per logical call, with the
parameters as plain data; ``_send`` of its endpoint once per attempt, with a
request that has been signed. A signature is for the host it was made for:
which gateways get to see it, the routes say.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

from ..codecs.parts import dump_json
from ..drivers import aperform, perform
from ..flow import arun, run
from ..pipeline import guarded
from ..route import Origin
from .amazon import aguard_reply, guard_reply
from .logical import Door, LogicalCall
from .parameters import Parameters
from .patches import Patches

__all__ = ["patch"]

_SERVICES = frozenset({"bedrock-runtime", "bedrock-agent-runtime"})
_EVENTS = "application/vnd.amazon.eventstream"
# What says how a body is written, or what is to come back.
_WRITTEN = frozenset({"accept", "accept-encoding", "content-encoding", "content-length", "content-type"}) | {
    "transfer-encoding"
}


@dataclass(frozen=True, slots=True)
class _Running:
    """The logical call that is under way in this context: whose endpoint sends it, and what it answers in."""

    endpoint: Any
    call: LogicalCall
    kind: str | None

    @property
    def expected(self) -> str | None:
        """The content type that a reply is sure to have, whatever it says; one that is translated says it."""
        return None if self.call.translated else self.kind


_running: ContextVar[_Running | None] = ContextVar("highflame_aws_running", default=None)


def patch(module: ModuleType, spoken: str, patches: Patches, door: Door) -> None:
    """Patch the clients and their endpoints. ``module`` is the ``client`` of one of the two packages."""
    endpoint = import_module(f"{module.__name__.partition('.')[0]}.endpoint")
    seam = _Seam(door, spoken)
    if hasattr(module, "AioBaseClient"):
        patches.replace(module.AioBaseClient, "_make_api_call", seam.asynchronous)
        patches.replace(endpoint.AioEndpoint, "_send", seam.asending)
    else:
        patches.replace(module.BaseClient, "_make_api_call", seam.blocking)
        patches.replace(endpoint.Endpoint, "_send", seam.sending)


@dataclass(frozen=True, slots=True)
class _Seam:
    """What stands in the place of the methods."""

    door: Door
    spoken: str

    def blocking(self, original: Any) -> Callable[..., Any]:
        def _make_api_call(client: Any, operation_name: str, api_params: Any) -> Any:
            send = original.__get__(client, type(client))
            if not self._is_ours(client):
                return send(operation_name, api_params)
            made = self._read(client, operation_name, api_params)

            def invoke(body: Any) -> Any:
                with made.sending(body) as parameters:
                    return send(operation_name, parameters)

            return run(guarded(made.call.exchange, invoke), perform)

        return _make_api_call

    def asynchronous(self, original: Any) -> Callable[..., Awaitable[Any]]:
        async def _make_api_call(client: Any, operation_name: str, api_params: Any) -> Any:
            send = original.__get__(client, type(client))
            if not self._is_ours(client):
                return await send(operation_name, api_params)
            made = self._read(client, operation_name, api_params)

            async def invoke(body: Any) -> Any:
                with made.sending(body) as parameters:
                    return await send(operation_name, parameters)

            return await arun(guarded(made.call.exchange, invoke), aperform)

        return _make_api_call

    def sending(self, original: Any) -> Callable[..., Any]:
        def _send(endpoint: Any, request: Any) -> Any:
            send = original.__get__(endpoint, type(endpoint))
            running = _running.get()
            if running is None or running.endpoint is not endpoint or not self.door.active():
                return send(request)
            _readdress(running.call, request)
            return guard_reply(running.call, send(request), running.expected)

        return _send

    def asending(self, original: Any) -> Callable[..., Awaitable[Any]]:
        async def _send(endpoint: Any, request: Any) -> Any:
            send = original.__get__(endpoint, type(endpoint))
            running = _running.get()
            if running is None or running.endpoint is not endpoint or not self.door.active():
                return await send(request)
            _readdress(running.call, request)
            return await aguard_reply(running.call, await send(request), running.expected)

        return _send

    def _is_ours(self, client: Any) -> bool:
        if not self.door.active() or client.meta.service_model.service_name not in _SERVICES:
            return False
        # A peer's client may call this method of its base class.
        running = _running.get()
        return running is None or running.endpoint is not client._endpoint  # noqa: SLF001 - botocore's own name

    def _read(self, client: Any, operation_name: str, given: Any) -> _Made:
        operation = client.meta.service_model.operation_model(operation_name)
        parameters = Parameters(operation, given)
        call = LogicalCall(
            self.door,
            spoken=self.spoken,
            origin=Origin.of(client.meta.endpoint_url),
            method=str(operation.http.get("method", "POST")),
            path=parameters.path,
            read_body=parameters.read,
            inside=False,
        )
        # Of all but a model's own reply botocore knows what it is, whatever it says of itself.
        kind = None if operation.has_streaming_output else "application/json"
        if operation.has_event_stream_output:
            kind = _EVENTS
        return _Made(_Running(client._endpoint, call, kind), parameters)  # noqa: SLF001


@dataclass(frozen=True, slots=True)
class _Made:
    """A call and what it was given."""

    running: _Running
    parameters: Parameters

    @property
    def call(self) -> LogicalCall:
        return self.running.call

    @contextmanager
    def sending(self, body: Any) -> Iterator[Any]:
        """The parameters to give to botocore, while what its endpoint sends belongs to this call."""
        same = body is self.call.body
        if self.call.translated:
            self.call.outgoing(body)
        token = _running.set(self.running)
        try:
            with self.call.attached():
                yield self.parameters.unchanged() if same else self.parameters.changed(body)
        finally:
            _running.reset(token)


def _readdress(call: LogicalCall, request: Any) -> None:
    """Point a prepared request at the gateway; its path stays as botocore has encoded and signed it.

    A translated one has another path and body: nothing of it is signed any more.
    """
    _, _, rest = request.url.partition("://")
    address = call.address("/" + rest.partition("/")[2])
    if address is None:
        return
    request.url = address.url
    headers = request.headers
    dropped, added = address.changes({name.lower(): _text(value) for name, value in headers.items()})
    for name in [name for name in headers if name.lower() in dropped | {"host"}]:
        del headers[name]
    for name, value in added.items():
        headers[name] = value
    if address.body is not None:
        request.body = dump_json(address.body)
        for name in [name for name in headers if name.lower() in _WRITTEN]:
            del headers[name]
        headers["content-type"] = "application/json"
        headers["content-length"] = str(len(request.body))
        # Nobody above decodes a reply.
        headers["accept-encoding"] = "identity"


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
