"""What each call tells its gateway: keys, who asks, on which route, in which trace.

They go along below LangChain's callbacks and tracers, so that no key is in what those record.
"""

from __future__ import annotations

from typing import Any

from opentelemetry.trace import Span

from highflame_middleware import CallContext, Settings
from highflame_middleware.route import Origin, Route, choose
from highflame_middleware.telemetry import trace_headers

__all__ = ["headers_for_call", "route_of"]

_HOME = Origin.of("https://api.openai.com/v1")


def route_of(model: str, settings: Settings, caller: CallContext) -> Route | None:
    """What the gateway over the network wants to be told of a call."""
    if not isinstance(settings.gateway, str) or settings.gateway == "embedded":
        return None
    found = choose(_HOME, model, settings, caller, spoken="openai", codec="openai-chat", path="/chat/completions")
    return found if isinstance(found, Route) else None


def headers_for_call(model: Any, settings: Settings, caller: CallContext, span: Span | None) -> dict[str, str]:
    """The headers of one call, where its model is on the gateway of the settings."""
    base = str(getattr(model, "openai_api_base", None) or "")
    url = settings.gateway_url
    if not url or not base.startswith(url):
        return {}
    name = str(getattr(model, "model_name", "") or "")
    route = route_of(name, settings, caller)
    headers = dict(route.headers) if route is not None else {}
    return {**headers, **(trace_headers(span) if span is not None else {})}
