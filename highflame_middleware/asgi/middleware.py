"""`HighflameMiddleware`: pure ASGI, no task, no queue; everything that is not its business passes untouched."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..asgi_types import App, Receive, Scope, Send
from ..bodies import AmbiguousError, unambiguous
from ..caller import CallContext, context
from ..codecs import codec_for_path, codec_for_shape, load_codec
from ..codecs.parts import CallRead, Codec, Text, dump_json
from ..config import UNSET, Settings, Unset
from ..drivers import aperform
from ..errors import ConfigError, HighflameError, UnreadableError
from ..exchange import Call, Exchange
from ..flow import arun
from ..guard.protocol import GuardLike
from ..guard.verdict import DecisionEvent
from ..pipeline import audited, guarded, read_call
from ..policy import policy_of
from ..telemetry import Recorder, parent_of
from ..types import Mode
from .body import read_body, replay
from .caller import Peers, read_identity, request_id_of
from .reply import Responder

__all__ = ["HighflameMiddleware"]

_log = logging.getLogger("highflame_middleware.asgi")

# Formats of calls: an application under a path of its own may read the fields of any of them.
_CALLS = ("openai-chat", "openai-responses", "openai-completions")
# The types that a JSON body comes under where its sender does not care: many applications read it all the same.
_CARELESS = frozenset({b"", b"text/plain", b"application/x-www-form-urlencoded"})


class HighflameMiddleware:
    """Guards what comes into and goes out of an application that talks to models.

    JSON bodies in the shape of an OpenAI call are guarded before the
    application sees them; the JSON and event-stream replies to them, and any
    other reply in an OpenAI shape, before the caller does. A stopped call is
    answered 403 (deny), 401 (step_up) or 425 (defer), in OpenAI's error shape.
    Every request gets an id, and a context that the LLM calls made for it carry.

    ``trusted_peers`` lists the addresses or networks whose ``x-highflame-*``
    identity headers are believed; by default nobody's are. ``max_body`` bounds,
    in bytes, what is read of a JSON body to be guarded: a larger one is answered
    413, or passes where the policy is not to block or to fail open. The other
    options are settings; what is omitted comes from environment, file and defaults.

    >>> async def app(scope, receive, send): ...
    >>> guarded_app = HighflameMiddleware(app, mode="monitor", trusted_peers=["10.0.0.0/8"])
    """

    def __init__(
        self,
        app: App,
        *,
        guard: GuardLike | str | Unset | None = UNSET,
        mode: Mode | str | Unset = UNSET,
        fail_open: bool | Unset = UNSET,
        deadline: float | Unset = UNSET,
        on_decision: Callable[[DecisionEvent], object] | Unset | None = UNSET,
        trusted_peers: Sequence[str] = (),
        max_body: int = 16 * 1024 * 1024,
        settings: Settings | None = None,
    ) -> None:
        given: dict[str, Any] = {
            "guard": guard,
            "mode": mode,
            "fail_open": fail_open,
            "deadline": deadline,
            "on_decision": on_decision,
        }
        if settings is None:
            # Where this process's calls go is not this door's business: the environment's gateway is not read.
            settings = Settings.load(gateway=None, **given)
        else:
            settings = settings.with_changes(**given)
        if isinstance(max_body, bool) or not isinstance(max_body, int) or max_body < 1:
            raise ConfigError(f"max_body={max_body!r} cannot be used: give a number of bytes, 1 or more")
        self._app: Any = app
        # Never beside the application: what that does before the verdict cannot be undone.
        self._policy = replace(policy_of(settings), races=False)
        self._peers = Peers.read(trusted_peers)
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request: Any = scope
        headers = list(request["headers"])
        client = request.get("client")
        identity = read_identity(headers) if self._peers.trust(client[0] if client else None) else {}
        identity["request_id"] = request_id_of(headers)
        names = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers]
        with context(**identity) as caller, parent_of(names):
            await self._serve(request, receive, send, caller)

    async def _serve(self, scope: Any, receive: Receive, send: Send, caller: CallContext) -> None:
        recorder = Recorder(None, caller)
        policy = audited(self._policy, recorder, caller)
        incoming = _Incoming(receive)
        if policy.guard is not None and (declared := _may_be_call(scope)) is not None:
            incoming = await _read(scope, receive, self._max_body, declared=declared)
        exchange = Exchange(_call(scope, incoming, caller), policy, recorder)
        responder = Responder(send, exchange, caller.request_id or "", raises=_hears_of_leaving(scope))
        if incoming.fault is not None and policy.strict:
            await responder.deny(incoming.fault, status=incoming.status)
            return

        async def invoke(body: Any) -> None:
            # From here on the reply's reader is the caller: what stops it is told there.
            exchange.returned = True
            if body is incoming.body:
                await self._app(scope, incoming.receive, responder.send)
            else:
                content = dump_json(body)
                message = {"type": "http.request", "body": content, "more_body": False}
                await self._app(_resized(scope, len(content)), replay([message], receive), responder.send)

        try:
            await arun(guarded(exchange, invoke), aperform)
        except Exception as error:
            if responder.stopped:
                _log.debug("the application raised after its reply had been stopped", exc_info=True)
                return
            if not isinstance(error, HighflameError) or isinstance(error, ConfigError):
                raise
            # The guard's own, or that of an SDK call which the application left to be answered for it.
            if responder.started and not responder.streaming:
                raise
            await responder.deny(error)


@dataclass(frozen=True, slots=True)
class _Incoming:
    """A request's body as far as it concerns us: a call that can be read, one that cannot, or neither."""

    receive: Receive
    codec: Codec | None = None
    body: Any = None
    fault: UnreadableError | None = None
    status: int = 400


async def _read(scope: Any, receive: Receive, limit: int, *, declared: bool) -> _Incoming:
    read = await read_body(receive, limit, only_json=not declared)
    receive = replay(read.messages, receive)
    if read.too_large:
        fault = UnreadableError(f"The body is longer than the {limit} bytes that are read to be guarded")
        return _Incoming(receive, fault=fault, status=413)
    if not read.content:
        return _Incoming(receive)
    try:
        body = json.loads(read.content, object_pairs_hook=unambiguous)
    except (ValueError, RecursionError) as error:
        if not declared and not isinstance(error, RecursionError | AmbiguousError):
            return _Incoming(receive)
        return _Incoming(receive, fault=UnreadableError("The body is not JSON that can be read in one way only"))
    codec = codec_for_path(scope["path"]) or codec_for_shape(body)
    return _Incoming(receive, _widened(codec) if codec is not None else None, body)


def _widened(codec: Codec) -> Codec:
    """The codec, reading the texts of calls in every format: which of them the application reads is not known."""

    def read_call(body: Any) -> CallRead:
        read = codec.read_call(body)
        texts: dict[Any, Text] = {text.path: text for text in read.texts}
        for name in _CALLS:
            for text in load_codec(name).read_call(body).texts:
                texts.setdefault(text.path, text)
        return replace(read, texts=tuple(texts.values()))

    return replace(codec, read_call=read_call)


def _call(scope: Any, incoming: _Incoming, caller: CallContext) -> Call:
    return read_call(
        provider="openai",
        method=scope["method"],
        path=scope["path"],
        codec=incoming.codec,
        body=incoming.body,
        caller=caller,
    )


def _may_be_call(scope: Any) -> bool | None:
    """Whether a request's body says that it is JSON; None where it is something else by all that can be told."""
    if scope["method"].upper() not in ("POST", "PUT", "PATCH"):
        return None
    kind = next((value for name, value in scope["headers"] if name.lower() == b"content-type"), b"")
    kind = kind.partition(b";")[0].strip().lower()
    if kind == b"application/json" or kind.endswith(b"+json"):
        return True
    return False if kind in _CARELESS or codec_for_path(scope["path"]) is not None else None


def _resized(scope: Any, length: int) -> Any:
    framing = (b"content-length", b"transfer-encoding")
    headers = [(name, value) for name, value in scope["headers"] if name.lower() not in framing]
    return {**scope, "headers": [*headers, (b"content-length", str(length).encode())]}


def _hears_of_leaving(scope: Any) -> bool:
    """Whether the application has been promised an OSError from ``send`` once nobody listens (ASGI 2.4)."""
    major, _, minor = str(scope.get("asgi", {}).get("spec_version", "2.0")).partition(".")
    return (int(major), int(minor or 0)) >= (2, 4)
