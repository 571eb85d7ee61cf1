"""A model of CrewAI's whose calls go to the gateway, each told whom it is for and where it stands in the trace.

CrewAI's own classes for OpenAI and Anthropic take an interceptor of their requests, which are readdressed there;
other providers' do not, nor does litellm: these are asked in OpenAI's format, which every gateway speaks for them.
"""

from __future__ import annotations

import json
import os
from typing import Any

from opentelemetry import trace

from highflame_middleware import Gateway, Settings, UnsupportedError
from highflame_middleware.caller import current_context
from highflame_middleware.codecs import base_of_path, codec_for_path
from highflame_middleware.exchange import COVERED, GUARDED
from highflame_middleware.route import Detour, Origin, Route, choose, headers_for, place, readdressed
from highflame_middleware.telemetry import trace_headers

from .routed import INSIDE, remember
from .versions import require_crewai

__all__ = ["highflame_llm"]

_HOME = Origin.of("https://api.openai.com/v1")
_INTERCEPTED = ("openai", "anthropic")


def highflame_llm(model: str, settings: Settings | None = None, **options: Any) -> Any:
    """CrewAI's `LLM` for ``provider/model``, which reaches its provider by the gateway of the settings.

    ``options`` go to `crewai.LLM`; with ``is_litellm=True`` it is litellm's. Without a gateway it is an `LLM` like
    any other. It is guarded where it is used inside `guarded`, or by a guarded crew.
    """
    require_crewai()
    from crewai import LLM  # noqa: PLC0415 - it takes seconds

    from .seams import installed  # noqa: PLC0415

    settings = settings or Settings.load()
    if settings.gateway is None:
        return LLM(model=model, **options)
    # Whatever else asks a model's provider has to ask the model instead.
    installed()
    return _routed(model, settings, options)


def _routed(model: str, settings: Settings, options: dict[str, Any]) -> Any:
    from crewai import LLM  # noqa: PLC0415

    gateway = _gateway_in(settings)
    if gateway is not None:
        return _inside(gateway, model, options)
    provider, _, name = model.partition("/")
    if not name:
        provider, name, model = "openai", model, f"openai/{model}"
    if provider in _INTERCEPTED and not options.get("is_litellm"):
        given = {"interceptor": _interceptor(settings, provider), **options}
        given.setdefault("api_key", os.environ.get(f"{provider.upper()}_API_KEY") or "none")
        return LLM(model=model, **given)
    found = choose(
        _HOME, model, settings, current_context(), spoken="openai", codec="openai-chat", path="/chat/completions"
    )
    if isinstance(found, Detour) or found is None:
        raise UnsupportedError(f"the gateway {settings.gateway!r} does not carry OpenAI's format for {model}")
    key = dict(found.headers).get("authorization", "").removeprefix("Bearer ")
    headers = {**found.headers, **options.pop("default_headers", {}), **options.pop("extra_headers", {})}
    given = {"base_url": found.base_url + found.universal, "api_key": key or "none", **options}
    remember(given["base_url"])
    if given.pop("is_litellm", False):
        return LLM(model=f"openai/{found.model or model}", is_litellm=True, extra_headers=headers, **given)
    return LLM(model=found.model or model, provider="openai", default_headers=headers, **given)


def _gateway_in(settings: Settings) -> Gateway | None:
    """The gateway in this process, if that is the one."""
    if isinstance(settings.gateway, Gateway):
        return settings.gateway
    # It guards nothing: a run does.
    return (
        Gateway(settings=settings.with_changes(gateway=None, guard=None))
        if settings.gateway == "embedded"
        else None
    )


def _inside(gateway: Gateway, model: str, options: dict[str, Any]) -> Any:
    """A model that reaches a gateway in this process, without a socket."""
    import httpx  # noqa: PLC0415
    from crewai import LLM  # noqa: PLC0415

    if options.get("is_litellm"):
        raise UnsupportedError(
            "litellm has HTTP clients of its own, which cannot reach a gateway in this process: serve it"
        )
    given = {"api_key": "none", **options, "base_url": INSIDE}
    llm: Any = LLM(model=model, provider="openai", **given)
    policy = gateway._policy  # noqa: SLF001

    def mark(request: Any) -> None:
        covered = COVERED.get()
        if covered is not None and (policy.guard is None or covered.covers(policy)):
            # A run has judged it, and has its span: the gateway only sends it on.
            request.extensions[GUARDED] = True

    async def mark_later(request: Any) -> None:
        mark(request)

    transport = gateway.transport(httpx)
    client = httpx.Client(transport=transport, event_hooks={"request": [mark]})
    later = httpx.AsyncClient(transport=transport, event_hooks={"request": [mark_later]})
    llm._client = llm._get_sync_client().with_options(http_client=client)  # noqa: SLF001
    llm._async_client = llm._get_async_client().with_options(http_client=later)  # noqa: SLF001
    return llm


def _interceptor(settings: Settings, spoken: str) -> Any:
    import httpx  # noqa: PLC0415
    from crewai.llms.hooks.base import BaseInterceptor  # noqa: PLC0415

    class Readdressing(BaseInterceptor[httpx.Request, httpx.Response]):
        """Sends each request to the gateway that was meant for the provider."""

        is_highflame = True

        def on_outbound(self, message: httpx.Request) -> httpx.Request:
            return _readdressed(message, settings, spoken)

        def on_inbound(self, message: httpx.Response) -> httpx.Response:
            return message

        async def aon_outbound(self, message: httpx.Request) -> httpx.Request:
            return _readdressed(message, settings, spoken)

        async def aon_inbound(self, message: httpx.Response) -> httpx.Response:
            return message

    return Readdressing()


def _readdressed(message: Any, settings: Settings, spoken: str) -> Any:
    """The same request, addressed to the gateway; as it is where it is for somebody else, a gateway already."""
    path = message.url.raw_path.decode("ascii")
    base = base_of_path(path, spoken=spoken)
    origin, path = (
        Origin.of(f"{message.url.scheme}://{message.url.netloc.decode('ascii')}{base}"),
        path[len(base) :],
    )
    codec = codec_for_path(path, spoken=spoken)
    body = _body_of(message)
    present = dict(message.headers)
    route = choose(
        origin,
        body.get("model") if isinstance(body, dict) else None,
        settings,
        current_context(),
        spoken=spoken,
        codec=codec.name if codec is not None else None,
        path=path,
        given=present,
    )
    if isinstance(route, Detour) and settings.on_unsupported == "refuse":
        raise UnsupportedError(f"the {route.dialect} gateway does not carry calls in the format {route.format}")
    if not isinstance(route, Route):
        return message
    dropped, headers = readdressed(route, present)
    headers = {**headers, **headers_for(route, origin, path), **trace_headers(trace.get_current_span())}
    kept = {name: value for name, value in present.items() if name.lower() not in dropped}
    content = message.content
    if route.model is not None and isinstance(body, dict):
        content = json.dumps({**body, "model": route.model}, ensure_ascii=False).encode()
    for name in ("host", "content-length", *(name.lower() for name in headers)):
        kept.pop(name, None)
    url = place(route, origin, path)
    return type(message)(
        message.method, url, headers={**kept, **headers}, content=content, extensions=message.extensions
    )


def _body_of(message: Any) -> Any:
    try:
        return json.loads(message.content)
    except (ValueError, RecursionError):
        return None
