"""Where a call goes: gateways as a table of dialects, decided purely from the call and the settings.

A `Route` says what to change of a request: its URL, some headers, perhaps the
model's name. No route means that the call stays as the client made it; so does
a `Detour`, where a gateway is meant that cannot carry the call.
"""

from __future__ import annotations

from .addressing import deployment_of, headers_for, place
from .credentials import readdressed, taken_off
from .dialects import DIALECTS, choose, format_of
from .origins import PROVIDER_HEADER, PROVIDERS, Origin, Provider, provider_name, provider_of
from .refusals import DECISION_HEADER, Refusal, bears_traces, decision_in, may_refuse, refusal_in
from .routes import Detour, Route

__all__ = [
    "DECISION_HEADER",
    "DIALECTS",
    "PROVIDERS",
    "PROVIDER_HEADER",
    "Detour",
    "Origin",
    "Provider",
    "Refusal",
    "Route",
    "bears_traces",
    "choose",
    "decision_in",
    "deployment_of",
    "format_of",
    "headers_for",
    "may_refuse",
    "place",
    "provider_name",
    "provider_of",
    "readdressed",
    "refusal_in",
    "taken_off",
]
