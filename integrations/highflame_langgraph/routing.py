"""Chat models on the gateway, and what each call tells it: who asks, on which route, in which trace."""

from __future__ import annotations

import os
from typing import Any

from langchain_core.language_models.chat_models import BaseChatModel

from highflame_middleware import CallContext, Gateway, MissingExtraError, Settings
from highflame_middleware.exchange import GUARDED

from .headers import route_of
from .model import guarded_model

__all__ = ["chat_model"]


def chat_model(model: str, settings: Settings | None = None, **options: Any) -> BaseChatModel:
    """A guarded chat model that reaches its provider by the gateway of the settings.

    ``model`` is ``provider/model``; ``options`` go to `langchain_openai.ChatOpenAI`, for every gateway speaks
    that API. Without a gateway the provider is asked itself. Each call tells the gateway whom it is for, by
    `context` or the run's configuration, and its place in the trace.

    >>> from highflame_middleware import Gateway, Settings
    >>> gateway = Gateway(providers={"echo": {"scripts": [{"text": "Hello from a script."}]}})
    >>> llm = chat_model("echo/any", Settings(gateway=gateway, guard=None))
    >>> llm.invoke("Hi").text
    'Hello from a script.'
    """
    settings = settings or Settings.load()
    try:
        from langchain_openai import ChatOpenAI  # noqa: PLC0415 - only where one is wanted
    except ImportError as error:
        raise MissingExtraError("chat_model() needs langchain-openai: pip install langchain-openai") from error
    gateway = _gateway_in(settings)
    given: dict[str, Any] = {"use_responses_api": False, **options}
    if gateway is not None:
        given |= {"base_url": INSIDE, "model": model, **_clients(gateway)}
        given.setdefault("api_key", "none")
    elif (route := route_of(model, settings, CallContext())) is not None:
        given |= {"base_url": route.base_url, "model": route.model or model}
        # Where the gateway has a key of its own, or stands for the provider's, the client's is nobody's business.
        given.setdefault("api_key", ("" if route.dropped else os.environ.get("OPENAI_API_KEY")) or "none")
    else:
        provider, _, name = model.partition("/")
        given["model"] = name if provider == "openai" and name else model
    return guarded_model(ChatOpenAI(**given), settings)


# Reserved by RFC 2606: should a request ever leave the process, it goes nowhere.
INSIDE = "http://highflame-gateway.invalid/v1"


def _gateway_in(settings: Settings) -> Gateway | None:
    """The gateway in this process, if that is the one."""
    if isinstance(settings.gateway, Gateway):
        return settings.gateway
    # It is asked by guarded models only.
    return (
        Gateway(settings=settings.with_changes(gateway=None, guard=None))
        if settings.gateway == "embedded"
        else None
    )


def _clients(gateway: Gateway) -> dict[str, Any]:
    """HTTP clients that reach the gateway without a socket, of the library that the installed SDK speaks."""
    import openai  # noqa: PLC0415

    module: Any = None
    if int(openai.__version__.partition(".")[0]) >= 3:
        import httpx2 as module  # noqa: PLC0415
    else:
        import httpx as module  # noqa: PLC0415
    transport = gateway.transport(module)
    if not gateway.guards:
        # Nothing is to be done there but to send it on: what is judged and recorded is so here.
        transport = _onward(module, transport)
    return {
        "http_client": module.Client(transport=transport, base_url=INSIDE),
        "http_async_client": module.AsyncClient(transport=transport, base_url=INSIDE),
    }


def _onward(module: Any, inner: Any) -> Any:
    """A transport whose requests say that they have been guarded."""

    class Onward(module.BaseTransport, module.AsyncBaseTransport):  # type: ignore[misc, name-defined]
        def handle_request(self, request: Any) -> Any:
            request.extensions = {**request.extensions, GUARDED: True}
            return inner.handle_request(request)

        async def handle_async_request(self, request: Any) -> Any:
            request.extensions = {**request.extensions, GUARDED: True}
            return await inner.handle_async_request(request)

    return Onward()
