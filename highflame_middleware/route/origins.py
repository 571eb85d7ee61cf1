"""Whose API a call is meant for: the providers, their hosts, and what others call them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from urllib.parse import urlsplit

__all__ = ["PROVIDERS", "PROVIDER_HEADER", "Origin", "Provider", "listed", "provider_name", "provider_of", "whose"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A provider as others call it: OpenTelemetry, the ``provider/model`` prefix, the gateways.

    ``route`` is the header-routed gateways' route for it, and ``universal``
    what stands before its API there, where that is not plainly below their
    base URL. ``base`` is the path of its API where its own SDK does not count
    it to the base URL, ``compatible`` that of OpenAI's API there, where it has
    one beside its own. ``key`` is the header in which its SDK sends a key that
    is no bearer token.
    """

    telemetry: str
    prefix: str
    route: str
    portkey: str
    universal: str = ""
    base: str = ""
    compatible: str = ""
    key: str | None = None


# Names one of the embedded gateway's providers; to the header-routed gateways, the provider's URL.
PROVIDER_HEADER = "x-highflame-provider"


def _like_openai(name: str, telemetry: str | None = None, portkey: str | None = None) -> Provider:
    """A provider of OpenAI's API that the header-routed gateways have no route of its own for."""
    return Provider(
        telemetry=telemetry or name,
        prefix=name,
        route="openai_univ",
        portkey=portkey or name,
        universal=f"/{name}",
    )


# By the name under which the rest of this library knows a provider.
PROVIDERS: Mapping[str, Provider] = MappingProxyType(
    {
        "anthropic": Provider(
            telemetry="anthropic",
            prefix="anthropic",
            route="anthropic_univ",
            portkey="anthropic",
            universal="/anthropic",
            base="/v1",
            key="x-api-key",
        ),
        "azure": Provider(
            telemetry="azure.ai.openai",
            prefix="azure",
            route="azureopenai_univ",
            portkey="azure-openai",
            key="api-key",
        ),
        "bedrock": Provider(telemetry="aws.bedrock", prefix="bedrock", route="awsbedrock", portkey="bedrock"),
        "cohere": Provider(
            telemetry="cohere", prefix="cohere", route="cohere_univ", portkey="cohere", universal="/cohere"
        ),
        "deepseek": Provider(telemetry="deepseek", prefix="deepseek", route="openai", portkey="deepseek"),
        "gemini": Provider(
            telemetry="gcp.gemini",
            prefix="gemini",
            route="google_univ",
            portkey="google",
            compatible="/v1beta/openai",
            key="x-goog-api-key",
        ),
        "groq": _like_openai("groq"),
        "mistral": Provider(
            telemetry="mistral_ai", prefix="mistral", route="mistral_univ", portkey="mistral-ai", base="/v1"
        ),
        "openai": Provider(telemetry="openai", prefix="openai", route="openai_univ", portkey="openai"),
        "openrouter": _like_openai("openrouter"),
        "perplexity": _like_openai("perplexity", portkey="perplexity-ai"),
        "together": _like_openai("together", "together_ai", "together-ai"),
        "vertex": Provider(
            telemetry="gcp.vertex_ai",
            prefix="vertex",
            route="google_univ",
            portkey="vertex-ai",
            key="x-goog-api-key",
        ),
        "voyage": _like_openai("voyage"),
        "xai": _like_openai("xai", "x_ai", "x-ai"),
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
# Amazon's hosts have the region in their middle; inside a VPC, the endpoint's name before it.
_BEDROCK = re.compile(
    r"((vpce-[a-z0-9-]+\.)?bedrock(-agent)?-runtime(-fips)?\.[a-z0-9-]+\.)"
    r"(vpce\.)?(amazonaws\.com(\.cn)?|api\.aws)"
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
    return whose(origin, spoken).telemetry


def whose(origin: Origin, spoken: str) -> Provider:
    """The provider of a call; behind an unknown host, the one whose format is spoken."""
    return PROVIDERS["azure"] if origin.azure else provider_of(origin) or PROVIDERS[spoken]


def listed(origin: Origin, hosts: tuple[str, ...]) -> bool:
    """Whether an origin is one of the hosts of a list, by name, with its port, or as one of all."""
    explicit = replace(origin, port=origin.port or _PORTS.get(origin.scheme))
    return not {"*", origin.host, origin.address, explicit.address}.isdisjoint(hosts)
