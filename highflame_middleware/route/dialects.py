"""The gateways as a table: what each carries, and what it wants to be told. `choose` reads it.

What a dialect carries is a matter of formats (the codecs' names). Everything
else that a client of a family calls, files or lists say, has the family's bare
name for its format.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from json import dumps
from types import MappingProxyType

from ..caller import CallContext
from ..config import Settings
from ..types import Secret
from .addressing import upstream_of
from .credentials import CLIENT_KEYS
from .origins import PROVIDERS, Origin, Provider, listed, provider_of, whose
from .routes import Detour, Route

__all__ = ["DIALECTS", "Dialect", "choose", "format_of"]

# Reserved by RFC 2606: should such a request ever leave the process, it goes nowhere.
_INSIDE = "http://highflame-gateway.invalid/v1"
# The providers with an API of their own; what all others speak is OpenAI's.
_FAMILIES = frozenset({"anthropic", "bedrock", "cohere", "gemini", "mistral", "vertex", "voyage"})
_CLOUDS = frozenset({"azure", "bedrock", "vertex"})
_MAKERS = frozenset({"anthropic", "gemini"})
_PREFIXES = frozenset(
    {
        "anthropic",
        "azure",
        "bedrock",
        "deepseek",
        "gemini",
        "groq",
        "mistral",
        "ollama",
        "openai",
        "together",
        "vertex",
        "xai",
        "zai",
    }
)
_NOTHING: Mapping[str, str] = MappingProxyType({})
_ABOUT_MESSAGES = re.compile(r"/messages/(count_tokens|batches)(?![^/?])")
# "…sonnet-20240229-v1:0" is "…sonnet-v1:0" to the header-routed gateways.
_DATED = re.compile(r"-\d{8}(?=-)")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What a dialect's route is made of."""

    origin: Origin
    provider: Provider
    spoken: str
    format: str
    model: str | None
    settings: Settings
    caller: CallContext
    given: Mapping[str, str]
    translated: bool = False

    @property
    def base_url(self) -> str:
        return self.settings.gateway_url or ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """A kind of gateway: the formats it carries (patterns; a family's name is all of it), and its routes."""

    carries: tuple[str, ...]
    lacks: tuple[str, ...] = ()
    route: Callable[[_Asked], Route]

    def takes(self, format_: str, also: tuple[str, ...] = (), but: tuple[str, ...] = ()) -> bool:
        """Whether it carries a format, by its own table or because ``also`` says so, unless ``but`` does."""
        known = _any_matches(format_, self.carries) and not _any_matches(format_, self.lacks)
        return (known or _any_matches(format_, also)) and not _any_matches(format_, but)


def choose(
    origin: Origin,
    model: str | None,
    settings: Settings,
    caller: CallContext,
    *,
    spoken: str = "openai",
    codec: str | None = None,
    path: str = "",
    given: Mapping[str, str] = _NOTHING,
    into: tuple[str, ...] = (),
) -> Route | Detour | None:
    """The route of one call, or nothing where it goes as the client sends it.

    ``codec`` names the format that it is in, ``path`` what it calls. ``given`` are headers of the
    caller's own, by lower-case name: what they tell a gateway already counts
    before what would be told it here. ``into`` are the formats that it can be translated into, the
    best first: it is, where the gateway does not carry its own.
    """
    if settings.gateway is None:
        return None
    if provider_of(origin) is None and not listed(origin, settings.reroute_hosts):
        return None
    name = settings.gateway if isinstance(settings.gateway, str) else "embedded"
    dialect, format_ = DIALECTS[name], format_of(origin, spoken, codec, path)
    target = None
    if not dialect.takes(format_, settings.carries, settings.lacks):
        target = next((to for to in into if dialect.takes(to, settings.carries, settings.lacks)), None)
        if target is None:
            return Detour(dialect=name, format=format_)
        format_ = target
    route = dialect.route(
        _Asked(
            origin=origin,
            provider=whose(origin, spoken),
            spoken=spoken,
            format=format_,
            model=model,
            settings=settings,
            caller=caller,
            given=given,
            translated=target is not None,
        )
    )
    if target is not None:
        route = _spoken_as(route, target, whose(origin, spoken))
    if route.embedded:
        return route
    custom = {name: value.reveal() for name, value in settings.headers.items()}
    return replace(route, headers={**route.headers, **custom}, signed=format_.startswith("bedrock"))


def format_of(origin: Origin, spoken: str, codec: str | None, path: str = "") -> str:
    """What a call is to a gateway: its codec's name, with the cloud before it that it is wrapped for.

    What is asked about messages, by ``path``, is another matter than to have one answered.

    >>> format_of(Origin.of("https://bedrock-runtime.eu-west-1.amazonaws.com"), "anthropic", "anthropic-messages")
    'bedrock-anthropic-messages'
    >>> format_of(Origin.of("https://api.openai.com/v1"), "openai", None)
    'openai'
    """
    family = spoken if spoken in _FAMILIES else "openai"
    found = codec if codec is not None and codec != "any-json" else family
    if found == "anthropic-messages" and (match := _ABOUT_MESSAGES.search(path)):
        found = f"anthropic-{match[1]}"
    prefix = whose(origin, spoken).prefix
    return f"{prefix}-{found}" if prefix in _CLOUDS and found.partition("-")[0] in _MAKERS else found


def _spoken_as(route: Route, target: str, provider: Provider) -> Route:
    """The route of a call that is translated: the client's key goes where the API of that format looks for it."""
    key = provider.key if target.startswith("openai-") and provider.key not in route.dropped else None
    return replace(route, into=target, bearer=route.bearer or key)


def _any_matches(format_: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(format_, pattern) or format_.startswith(f"{pattern}-") for pattern in patterns)


def _highflame(asked: _Asked) -> Route:
    """The current gateway: the provider stands before the model's name; the client's own key goes along."""
    names = ("x-highflame-token", "x-highflame-apikey")
    headers = {name: sent for name in names if (sent := _clean(asked.given.get(name)))}
    if not headers:
        key = _reveal(asked.settings.api_key)
        headers = {names[0] if key.startswith("eyJ") else names[1]: key}
    provider, model, renamed = asked.provider, asked.model, None
    # Hosts of many makers' models have names such as "openai/…" themselves: there that is no choice of a provider.
    known = _PREFIXES if provider is PROVIDERS["openai"] else {provider.prefix}
    if model is not None and model.partition("/")[0] not in known:
        renamed = f"{provider.prefix}/{model}"
    return Route(dialect="highflame", base_url=asked.base_url, headers=headers, model=renamed)


def _header_routed(asked: _Asked) -> Route:
    """The two older gateways: everything in headers, each under both family names."""
    settings, caller, model = asked.settings, asked.caller, asked.model
    bedrock = asked.format.startswith("bedrock")
    upstream = upstream_of(asked.origin, asked.spoken)
    if asked.translated and not asked.origin.path:
        upstream += asked.provider.compatible
    values = {
        "apikey": _reveal(settings.api_key),
        "virtualapikey": _reveal(settings.virtual_api_key),
        "route": caller.route or settings.route or asked.provider.route,
        "provider": upstream,
        "model": _DATED.sub("", model) if model is not None and bedrock else model,
        "accountid": caller.account or settings.account_id,
        "user": caller.user,
        "userrole": caller.role,
    }
    headers: dict[str, str] = {}
    for name, value in values.items():
        told = [asked.given.get(f"x-{family}-{name}") for family in ("highflame", "javelin")]
        if sent := next(filter(None, map(_clean, (*told, value))), None):
            headers |= {f"x-highflame-{name}": sent, f"x-javelin-{name}": sent}
    # Anthropic's own API has a place of its own among the models.
    universal = "/model" if asked.format.startswith("anthropic") else asked.provider.universal
    return Route(dialect=settings.gateway, base_url=asked.base_url, headers=headers, universal=universal)


def _portkey(asked: _Asked) -> Route:
    """Portkey's gateway: a virtual key, a config, or the provider's name and the client's own key."""
    settings, caller = asked.settings, asked.caller
    virtual = _clean(asked.given.get("x-portkey-virtual-key")) or _reveal(settings.virtual_api_key)
    at_home = provider_of(asked.origin) is not None
    values = {
        "api-key": _reveal(settings.api_key),
        "virtual-key": virtual,
        "config": caller.route or settings.route,
        "provider": None if virtual else asked.provider.portkey,
        "custom-host": None if virtual or at_home else upstream_of(asked.origin, asked.spoken),
        "metadata": dumps({"_user": caller.user}) if caller.user else None,
        "trace-id": caller.request_id,
    }
    headers = {
        f"x-portkey-{name}": sent
        for name, value in values.items()
        if (sent := _clean(asked.given.get(f"x-portkey-{name}")) or _clean(value))
    }
    return Route(
        dialect="portkey",
        base_url=asked.base_url,
        headers=headers,
        # A virtual key stands for the provider's: the client's own is nobody's business then.
        dropped=CLIENT_KEYS if virtual else frozenset(),
        bearer="api-key" if asked.provider is PROVIDERS["azure"] and not virtual else None,
    )


def _openai_compatible(asked: _Asked) -> Route:
    """Any other gateway: its own key in place of the client's, or without a key the client's own."""
    key = _reveal(asked.settings.api_key)
    asks = asked.provider.prefix in ("gemini", "vertex")
    return Route(
        dialect="openai-compatible",
        base_url=asked.base_url,
        headers={"authorization": f"Bearer {key}"} if key else {},
        dropped=CLIENT_KEYS - {"authorization"} if key else frozenset(),
        # Google's APIs take a key in the query too.
        unasked=frozenset({"key", "access_token"}) if key and asks else frozenset(),
    )


def _embedded(_asked: _Asked) -> Route:
    """The gateway in this process, whose providers' settings say which credentials go where."""
    return Route(dialect="embedded", base_url=_INSIDE)


_UNIVERSAL = ("openai", "anthropic-messages", "bedrock-converse", "bedrock-invoke", "bedrock-anthropic-messages")
# Only Portkey is known to keep sockets open, and what is asked about them belongs with them.
_SOCKETS = ("openai-realtime",)

# The current gateway never signs for Amazon, which is why it carries Bedrock as OpenAI's API only.
DIALECTS: Mapping[str, Dialect] = MappingProxyType(
    {
        "highflame": Dialect(carries=("openai", "anthropic-messages"), lacks=_SOCKETS, route=_highflame),
        "highflame-v2": Dialect(carries=_UNIVERSAL, lacks=_SOCKETS, route=_header_routed),
        "javelin": Dialect(carries=_UNIVERSAL, lacks=_SOCKETS, route=_header_routed),
        "portkey": Dialect(
            carries=("openai", "anthropic-messages", "anthropic-count_tokens", "websocket-openai-realtime"),
            route=_portkey,
        ),
        "openai-compatible": Dialect(carries=("openai",), lacks=_SOCKETS, route=_openai_compatible),
        "embedded": Dialect(carries=("openai",), lacks=_SOCKETS, route=_embedded),
    }
)


def _reveal(secret: Secret | None) -> str:
    return secret.reveal() if secret is not None else ""


def _clean(value: str | None) -> str | None:
    """A value, which may come from a request, as a header can hold it and end with it; or nothing."""
    sent = (value or "").strip()
    return sent if sent and sent.isascii() and sent.isprintable() else None
