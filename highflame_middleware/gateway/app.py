"""The gateway: a door like the others, whose call is a request to one of its providers.

`handle` and `ahandle` are the door, for callers outside; `forward` and
`aforward` take a request that an instrumented client has guarded already.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, cast

from ..asgi_types import Receive, Scope, Send
from ..bodies import AsyncGuardedBody, GuardedBody, unambiguous
from ..caller import current_context
from ..codecs import codec_for_path
from ..codecs.parts import Codec, dump_json
from ..config import UNSET, Settings, Unset
from ..drivers import aperform, perform
from ..errors import ConfigError, GatewayError, UnreadableError
from ..exchange import Exchange
from ..flow import arun, run
from ..guard.protocol import GuardLike
from ..guard.verdict import DecisionEvent
from ..pipeline import guarded, open_exchange, read_call
from ..policy import policy_of
from ..route import PROVIDER_HEADER, Origin, provider_name
from ..screens import Screen, screen_for
from ..telemetry import parent_of
from ..types import Mode, Secret
from .messages import AsyncReply, Headers, Reply, Request, header, plain_path, without
from .providers import Choice, Provider, Upstream, choose_provider, read_providers
from .upstreams import Upstreams, adecoded, decodable, decoded, decodes

__all__ = ["Gateway"]


@dataclass(frozen=True, slots=True)
class _Incoming:
    """A request that has come through the door: what it asks for and who takes it."""

    request: Request
    choice: Choice
    codec: Codec | None
    body: Any
    exchange: Exchange


class Gateway:
    """An LLM gateway in this process: an ASGI app, a transport for httpx and httpx2, or both.

    ``providers`` are upstreams or scripts by name, as in the settings file
    (see `highflame_middleware.gateway.Upstream` and `Scripted`); a call goes
    to the one that its ``x-highflame-provider`` header or ``provider/model``
    names, else to ``default``, which is the only one where there is one. The
    other options are settings, with the meaning and the defaults they have everywhere.

    >>> gateway = Gateway(providers={"echo": {"scripts": [{"text": "Hello!"}]}}, guard=None)
    >>> import httpx
    >>> client = httpx.Client(transport=gateway.transport(httpx), base_url="http://gateway/v1")
    >>> client.post("/chat/completions", json={"model": "any", "messages": []}).json()["object"]
    'chat.completion'
    """

    def __init__(
        self,
        *,
        providers: Mapping[str, Any] | Unset = UNSET,
        default: str | Unset | None = UNSET,
        keys: Sequence[str | Secret] | Unset = UNSET,
        guard: GuardLike | str | Unset | None = UNSET,
        mode: Mode | str | Unset = UNSET,
        fail_open: bool | Unset = UNSET,
        deadline: float | Unset = UNSET,
        on_decision: Callable[[DecisionEvent], object] | Unset | None = UNSET,
        settings: Settings | None = None,
    ) -> None:
        chosen: dict[str, Any] = {
            "providers": providers,
            "default_provider": default,
            "gateway_keys": keys,
            "guard": guard,
            "mode": mode,
            "fail_open": fail_open,
            "deadline": deadline,
            "on_decision": on_decision,
        }
        if settings is None:
            # Where this process's calls go is not this gateway's business: the environment's gateway is not read.
            settings = Settings.load(gateway=None, **chosen)
        else:
            settings = settings.with_changes(**chosen)
        self._providers: dict[str, Provider] = read_providers(settings.providers)
        default = settings.default_provider
        if default is not None and default not in self._providers:
            known = ", ".join(self._providers) or "none"
            raise ConfigError(f"the default provider {default!r} is not configured; there are: {known}")
        self._default = default or (next(iter(self._providers)) if len(self._providers) == 1 else None)
        self._keys = settings.gateway_keys
        self._policy = policy_of(settings)
        self._upstreams = Upstreams()

    @property
    def providers(self) -> tuple[str, ...]:
        """The names of the providers."""
        return tuple(self._providers)

    @property
    def guards(self) -> bool:
        """Whether it judges what it carries."""
        return self._policy.guard is not None

    @property
    def lends_keys(self) -> bool:
        """Whether callers get to use a key that they do not present: an open door would be an open purse."""
        return any(isinstance(provider, Upstream) and provider.api_key for provider in self._providers.values())

    @property
    def asks_for_keys(self) -> bool:
        """Whether callers must present a key."""
        return bool(self._keys)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        from .serving import serve_asgi  # noqa: PLC0415 - only where there is a server

        await serve_asgi(self, scope, receive, send)

    def transport(self, module: ModuleType) -> Any:
        """A transport that reaches this gateway without a socket, for ``httpx`` or ``httpx2``, blocking or not."""
        from .inprocess import transport_types  # noqa: PLC0415

        return transport_types(module)(self)

    def handle(self, request: Request) -> Reply:
        """Answer a request from outside: guard ▸ provider ▸ guard."""
        with parent_of(request.headers):
            incoming = self._admit(request)

            def invoke(body: Any) -> Reply:
                reply = self._upstreams.ask(incoming.choice.provider, _addressed(incoming, body))
                screen = _screen(incoming, reply.status, reply.headers)
                if screen is None:
                    return reply
                reply = decoded(reply)
                guard = GuardedBody(reply.body, reply.close, incoming.exchange, screen)
                return Reply(reply.status, without(reply.headers, _REWRITTEN), guard, guard.close)

            return cast("Reply", run(guarded(incoming.exchange, invoke), perform))

    async def ahandle(self, request: Request) -> AsyncReply:
        """Answer a request from outside, asynchronously."""
        with parent_of(request.headers):
            incoming = self._admit(request)

            async def invoke(body: Any) -> AsyncReply:
                reply = await self._upstreams.aask(incoming.choice.provider, _addressed(incoming, body))
                screen = _screen(incoming, reply.status, reply.headers)
                if screen is None:
                    return reply
                reply = adecoded(reply)
                guard = AsyncGuardedBody(reply.body, reply.aclose, incoming.exchange, screen)
                return AsyncReply(reply.status, without(reply.headers, _REWRITTEN), guard, guard.aclose)

            return cast("AsyncReply", await arun(guarded(incoming.exchange, invoke), aperform))

    def takes(self, model: str | None) -> bool:
        """Whether a call for this model is meant for one of the providers."""
        return choose_provider(self._providers, self._default, named=None, model=model) is not None

    def forward(self, request: Request) -> Reply:
        """Send on a request that has been guarded and is being traced already."""
        choice = self._choose(request, _model_asked(request))
        return self._upstreams.ask(choice.provider, _renamed(request, choice))

    async def aforward(self, request: Request) -> AsyncReply:
        """Send on a request that has been guarded and is being traced already, asynchronously."""
        choice = self._choose(request, _model_asked(request))
        return await self._upstreams.aask(choice.provider, _renamed(request, choice))

    def knows(self, key: str | None) -> bool:
        """Whether a caller's key is one of this gateway's; every key will do where it has none."""
        if not self._keys:
            return True
        given = (key or "").encode("utf-8", "surrogateescape")
        # Compared with every key, so that the time taken tells nothing about any of them.
        matches = [hmac.compare_digest(given, known.reveal().encode()) for known in self._keys]
        return any(matches)

    def close(self) -> None:
        """Close the connections of blocking callers."""
        self._upstreams.close()

    async def aclose(self) -> None:
        """Close the connections of this event loop and of blocking callers."""
        await self._upstreams.aclose()

    def _admit(self, request: Request) -> _Incoming:
        codec = _codec_of(request)
        body = None
        if codec is not None and request.body:
            body = self._read(request)
            codec = codec if body is not None else None
        choice = self._choose(request, _model_of(body) if body is not None else _model_asked(request))
        upstream = Origin.of(choice.provider.base_url) if isinstance(choice.provider, Upstream) else None
        call = read_call(
            provider=provider_name(upstream) if upstream is not None else "openai",
            method=request.method,
            path=request.path,
            codec=codec,
            body=body,
            caller=current_context(),
            model=choice.model,
        )
        exchange = open_exchange(
            call,
            self._policy,
            server=upstream.host if upstream is not None else None,
            port=upstream.port if upstream is not None else None,
        )
        exchange.recorder.annotate("gateway.provider", choice.name)
        return _Incoming(request, choice, codec, body, exchange)

    def _choose(self, request: Request, model: str | None) -> Choice:
        named = request.header(PROVIDER_HEADER)
        choice = choose_provider(self._providers, self._default, named=named, model=model)
        if choice is None:
            raise GatewayError(
                f"No provider takes model {model!r} (named: {named!r}). Name one as 'provider/model' or in "
                f"{PROVIDER_HEADER}, or configure a default. Known: {', '.join(self._providers) or 'none'}"
            )
        return choice

    def _read(self, request: Request) -> Any:
        """The body, or nothing where it cannot be read and the policy is to let such bodies pass."""
        strict = self._policy.strict
        try:
            return json.loads(request.body, object_pairs_hook=unambiguous if strict else None)
        except (ValueError, RecursionError):
            if strict:
                raise UnreadableError(
                    f"The body of {request.method} {request.path} is not JSON that can be read in one way only"
                ) from None
            return None


# What a screen changes of a reply's bytes makes these wrong.
_REWRITTEN = frozenset({"content-length", "content-encoding"})


def _codec_of(request: Request) -> Codec | None:
    """The format of a request; forms, which OpenAI takes too for pictures and sound, pass unread."""
    path = plain_path(request.path)
    known = codec_for_path(path)
    if known is None and "json" in (request.header("content-type") or "").lower():
        return codec_for_path(path, spoken="openai")
    return known


def _addressed(incoming: _Incoming, body: Any) -> Request:
    """The request to the provider: the caller's bytes, unless something has changed the body."""
    request = incoming.request if body is incoming.body else incoming.request.with_body(dump_json(body))
    if incoming.codec is not None and incoming.exchange.policy.guard is not None:
        request = decodable(request)
    return _renamed(request, incoming.choice)


def _renamed(request: Request, choice: Choice) -> Request:
    """The request with the model's own name, where the caller put the provider's before it."""
    if choice.model is None:
        return request
    return request.with_body(dump_json({**json.loads(request.body), "model": choice.model}))


def _model_asked(request: Request) -> str | None:
    """The model that a body names which nobody has read yet."""
    if "json" not in (request.header("content-type") or "").lower():
        return None
    try:
        return _model_of(json.loads(request.body))
    except (ValueError, RecursionError):
        return None


def _model_of(body: Any) -> str | None:
    model = body.get("model") if isinstance(body, Mapping) else None
    return model if isinstance(model, str) else None


def _screen(incoming: _Incoming, status: int, headers: Headers) -> Screen | None:
    """The screen for a reply; what is nothing but looked at is passed on where it cannot be read."""
    exchange = incoming.exchange
    if status >= 400:
        exchange.recorder.fail_status(status)
    if not decodes(headers) and not exchange.policy.strict:
        return None
    kind = header(headers, "content-type")
    return screen_for(exchange, status=status, content_type=kind, codec=exchange.call.codec)
