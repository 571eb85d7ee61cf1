"""Where a call goes: gateways as a table of dialects, decided purely from the call and the settings.

A `Route` says what to change of a request: its URL, some headers, perhaps the
model's name. No route means that the call stays as the client made it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from urllib.parse import unquote, urlsplit

from .caller import CallContext
from .config import Settings
from .types import Secret

__all__ = [
    "PROVIDERS",
    "PROVIDER_HEADER",
    "Origin",
    "Provider",
    "Route",
    "choose",
    "deployment_of",
    "place",
    "provider_name",
    "provider_of",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A provider as others call it: OpenTelemetry, the ``provider/model`` prefix, the header-routed gateways."""

    telemetry: str
    prefix: str
    route: str


# Names one of the embedded gateway's providers; to the header-routed gateways, the provider's URL.
PROVIDER_HEADER = "x-highflame-provider"

# By the name under which the rest of this library knows a provider.
PROVIDERS: Mapping[str, Provider] = MappingProxyType(
    {
        "anthropic": Provider(telemetry="anthropic", prefix="anthropic", route="anthropic_univ"),
        "azure": Provider(telemetry="azure.ai.openai", prefix="azure", route="azureopenai_univ"),
        "bedrock": Provider(telemetry="aws.bedrock", prefix="bedrock", route="awsbedrock"),
        "cohere": Provider(telemetry="cohere", prefix="cohere", route="cohere_univ"),
        "deepseek": Provider(telemetry="deepseek", prefix="deepseek", route="openai"),
        "gemini": Provider(telemetry="gcp.gemini", prefix="gemini", route="google_univ"),
        "groq": Provider(telemetry="groq", prefix="groq", route="openai_univ"),
        "mistral": Provider(telemetry="mistral_ai", prefix="mistral", route="mistral_univ"),
        "openai": Provider(telemetry="openai", prefix="openai", route="openai_univ"),
        "openrouter": Provider(telemetry="openrouter", prefix="openrouter", route="openai_univ"),
        "perplexity": Provider(telemetry="perplexity", prefix="perplexity", route="openai_univ"),
        "together": Provider(telemetry="together_ai", prefix="together", route="openai_univ"),
        "vertex": Provider(telemetry="gcp.vertex_ai", prefix="vertex", route="google_univ"),
        "voyage": Provider(telemetry="voyage", prefix="voyage", route="openai_univ"),
        "xai": Provider(telemetry="x_ai", prefix="xai", route="openai_univ"),
    }
)
# The providers' own hosts; a leading dot stands for any subdomain, a leading "*" for any beginning.
_HOSTS: Mapping[str, str] = MappingProxyType(
    {
        "api.openai.com": "openai",
        ".api.openai.com": "openai",
        ".openai.azure.com": "azure",
        ".cognitiveservices.azure.com": "azure",
        ".services.ai.azure.com": "azure",
        "api.anthropic.com": "anthropic",
        "generativelanguage.googleapis.com": "gemini",
        "aiplatform.googleapis.com": "vertex",
        "*-aiplatform.googleapis.com": "vertex",
        "api.cohere.com": "cohere",
        "api.cohere.ai": "cohere",
        "api.deepseek.com": "deepseek",
        "api.groq.com": "groq",
        "api.mistral.ai": "mistral",
        "api.perplexity.ai": "perplexity",
        "api.together.ai": "together",
        "api.together.xyz": "together",
        "api.voyageai.com": "voyage",
        "api.x.ai": "xai",
        "openrouter.ai": "openrouter",
    }
)
# Amazon's hosts have the region in their middle.
_BEDROCK = re.compile(r"bedrock(-agent)?-runtime(-fips)?\.[a-z0-9-]+\.(amazonaws\.com(\.cn)?|api\.aws)")
# Reserved by RFC 2606: should such a request ever leave the process, it goes nowhere.
_INSIDE = "http://highflame-gateway.invalid/v1"
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
    }
    | {"xai", "zai"}
)
_AZURE_PATH = re.compile(
    r"^(?P<base>[^?]*?)/openai(?:/deployments/(?P<deployment>[^/?]+))?(?P<rest>/[^?]*)\??(?P<query>.*)$"
)
_PORTS: Mapping[str, int] = MappingProxyType({"http": 80, "https": 443})


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where the client itself would send a call: its base URL. ``path`` has no slash at its end."""

    scheme: str
    host: str
    port: int | None = None
    path: str = ""
    azure: bool = False

    @classmethod
    def of(cls, url: str, *, azure: bool = False) -> Origin:
        """The origin of a base URL.

        >>> Origin.of("https://api.openai.com/v1/").url
        'https://api.openai.com/v1'
        """
        parts = urlsplit(url)
        return cls(
            scheme=parts.scheme,
            host=(parts.hostname or "").lower().removesuffix("."),
            port=parts.port,
            path=parts.path.rstrip("/"),
            azure=azure,
        )

    @property
    def address(self) -> str:
        """Host and port, as a URL names them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The base URL."""
        return f"{self.scheme}://{self.address}{self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """What to change of a request so that it goes to the gateway.

    ``headers`` are set and ``dropped`` removed, per request. ``model`` is the
    model's name there, where it is another than the caller's.
    """

    dialect: str
    base_url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    dropped: frozenset[str] = frozenset()
    model: str | None = None

    @property
    def embedded(self) -> bool:
        """Whether the gateway is in this process: no socket, and a base URL that no resolver knows."""
        return self.dialect == "embedded"


def provider_of(origin: Origin) -> Provider | None:
    """Whose host this is, or nothing for a host that is nobody's known API.

    >>> provider_of(Origin.of("https://eu.api.openai.com/v1")).prefix
    'openai'
    >>> provider_of(Origin.of("http://localhost:11434/v1")) is None
    True
    """
    host = origin.host
    name = _HOSTS.get(host)
    if name is None and _BEDROCK.fullmatch(host):
        name = "bedrock"
    if name is None:
        name = next((known for end, known in _HOSTS.items() if end[0] in ".*" and _ends(host, end)), None)
    return PROVIDERS[name] if name is not None else None


def _ends(host: str, end: str) -> bool:
    return host.endswith(end) if end[0] == "." else host.endswith(end[1:]) and len(host) > len(end)


def provider_name(origin: Origin, spoken: str = "openai") -> str:
    """The provider as telemetry names it; behind an unknown host, the one whose format is spoken."""
    return _provider(origin, spoken).telemetry


def _provider(origin: Origin, spoken: str) -> Provider:
    return PROVIDERS["azure"] if origin.azure else provider_of(origin) or PROVIDERS[spoken]


def choose(
    origin: Origin, model: str | None, settings: Settings, caller: CallContext, *, spoken: str = "openai"
) -> Route | None:
    """The route of one call, or nothing where it goes as the client sends it."""
    if settings.gateway is None:
        return None
    if provider_of(origin) is None and not _listed(origin, settings.reroute_hosts):
        return None
    if not isinstance(settings.gateway, str) or settings.gateway == "embedded":
        return Route(dialect="embedded", base_url=_INSIDE)
    return _DIALECTS[settings.gateway](origin, _provider(origin, spoken), model, settings, caller)


def place(route: Route, origin: Origin, raw_path: str) -> str:
    """The URL of a request at the gateway. ``raw_path`` is its path and query at the origin, left as encoded.

    >>> route = Route(dialect="openai-compatible", base_url="http://gw/v1")
    >>> place(route, Origin.of("https://api.openai.com/v1"), "/v1/chat/completions?a=b%2Fc")
    'http://gw/v1/chat/completions?a=b%2Fc'
    """
    if origin.azure and (azure := _AZURE_PATH.match(raw_path)):
        if route.dialect in ("highflame-v2", "javelin"):
            return f"{route.base_url}{raw_path[azure.end('base') :]}"
        # Elsewhere Azure is an OpenAI with other names: the deployment is the model, and there is no API version.
        query = "&".join(part for part in azure["query"].split("&") if not part.startswith("api-version="))
        return f"{route.base_url}{_below('/v1', azure['rest'])}{query and f'?{query}'}"
    return f"{route.base_url}{_below(origin.path, raw_path)}"


def _below(base: str, path: str) -> str:
    """What of a path lies below a base, in whole segments; all of it where it lies elsewhere."""
    rest = path.removeprefix(base)
    return rest if not rest or rest[0] in "/?" else path


def deployment_of(origin: Origin, path: str) -> str | None:
    """The Azure deployment that a URL names, which is what Azure runs whatever the body says."""
    match = _AZURE_PATH.match(f"{origin.path}{path}") if origin.azure else None
    return unquote(match["deployment"]) if match and match["deployment"] else None


def _listed(origin: Origin, hosts: tuple[str, ...]) -> bool:
    explicit = replace(origin, port=origin.port or _PORTS.get(origin.scheme))
    return not {"*", origin.host, origin.address, explicit.address}.isdisjoint(hosts)


def _highflame(
    _origin: Origin, provider: Provider, model: str | None, settings: Settings, _caller: CallContext
) -> Route:
    """The current gateway: the provider stands before the model's name; the client's own key goes along."""
    key = _reveal(settings.api_key)
    header = "x-highflame-token" if key.startswith("eyJ") else "x-highflame-apikey"
    renamed = None
    # Hosts of many makers' models have names such as "openai/…" themselves: there that is no choice of a provider.
    known = _PREFIXES if provider is PROVIDERS["openai"] else {provider.prefix}
    if model is not None and model.partition("/")[0] not in known:
        renamed = f"{provider.prefix}/{model}"
    return Route(dialect="highflame", base_url=settings.gateway_url or "", headers={header: key}, model=renamed)


def _header_routed(
    origin: Origin, provider: Provider, model: str | None, settings: Settings, caller: CallContext
) -> Route:
    """The two older gateways: everything in headers, each under both family names."""
    azure = _AZURE_PATH.match(f"{origin.path}/") if origin.azure else None
    upstream = f"{origin.scheme}://{origin.address}{azure['base']}/openai" if azure else origin.url
    values = {
        "apikey": _reveal(settings.api_key),
        "virtualapikey": _reveal(settings.virtual_api_key),
        "route": caller.route or settings.route or provider.route,
        "provider": upstream,
        "model": model,
        "accountid": caller.account or settings.account_id,
        "user": caller.user,
        "userrole": caller.role,
    }
    headers = {
        f"x-{family}-{name}": sent
        for family in ("highflame", "javelin")
        for name, value in values.items()
        if value and (sent := value.strip()) and _sendable(sent)
    }
    return Route(dialect=settings.gateway, base_url=settings.gateway_url or "", headers=headers)


def _openai_compatible(
    _origin: Origin, _provider: Provider, _model: str | None, settings: Settings, _caller: CallContext
) -> Route:
    """Any other gateway: its own key in place of the client's, or without a key the client's own."""
    key = _reveal(settings.api_key)
    return Route(
        dialect="openai-compatible",
        base_url=settings.gateway_url or "",
        headers={"authorization": f"Bearer {key}"} if key else {},
        dropped=frozenset({"api-key"}) if key else frozenset(),
    )


_DIALECTS: Mapping[str, Callable[[Origin, Provider, str | None, Settings, CallContext], Route]] = MappingProxyType(
    {
        "highflame": _highflame,
        "highflame-v2": _header_routed,
        "javelin": _header_routed,
        "openai-compatible": _openai_compatible,
    }
)


def _reveal(secret: Secret | None) -> str:
    return secret.reveal() if secret is not None else ""


def _sendable(value: str) -> bool:
    """Whether a value, which may come from a request, can stand in a header and end there."""
    return value.isascii() and value.isprintable()
