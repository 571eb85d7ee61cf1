"""The address of a request at a gateway: its URL, and what the gateway has to be told that only the URL said.

Paths and queries are cut and joined as they are encoded, never decoded and
encoded again: a model's name may hold a slash, and a signature covers the bytes.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qs, unquote

from .origins import Origin, whose
from .routes import Route

__all__ = ["deployment_of", "headers_for", "place", "upstream_of"]

_AZURE_PATH = re.compile(
    r"^(?P<base>[^?]*?)/openai(?:/deployments/(?P<deployment>[^/?]+))?(?P<rest>/[^?]*)\??(?P<query>.*)$"
)
_RESOURCE = re.compile(r"([a-z0-9-]+)\.openai\.azure\.com")
# Where the header-routed gateways take each provider's API in its own shape.
_UNIVERSAL = ("highflame-v2", "javelin")


def place(route: Route, origin: Origin, raw_path: str) -> str:
    """The URL of a request at the gateway. ``raw_path`` is its path and query at the origin, left as encoded.

    Of a translated call it is the path below the base URL of the API that it is translated for.

    >>> from highflame_middleware.route import Route
    >>> route = Route(dialect="openai-compatible", base_url="http://gw/v1")
    >>> place(route, Origin.of("https://api.openai.com/v1"), "/v1/chat/completions?a=b%2Fc")
    'http://gw/v1/chat/completions?a=b%2Fc'
    """
    if route.into is not None:
        return _joined(route, raw_path)
    raw_path = _without(raw_path, route.unasked)
    if origin.azure and (azure := _AZURE_PATH.match(raw_path)):
        if route.dialect in _UNIVERSAL:
            return f"{route.base_url}{raw_path[azure.end('base') :]}"
        # Elsewhere Azure is an OpenAI with other names: the deployment is the model, and there is no API version.
        query = "&".join(part for part in azure["query"].split("&") if not part.startswith("api-version="))
        return f"{route.base_url}{_below('/v1', azure['rest'])}{query and f'?{query}'}"
    path = _below(origin.path, raw_path)
    if not origin.path:
        # A gateway's base URL is what an OpenAI client would be given: the API's version is part of it.
        path = _below("/v1", path)
    return _joined(route, path)


def headers_for(route: Route, origin: Origin, raw_path: str) -> dict[str, str]:
    """What to tell a gateway that speaks OpenAI's API of the Azure deployment that the URL named."""
    azure = _AZURE_PATH.match(raw_path) if origin.azure and route.dialect == "portkey" else None
    if azure is None:
        return {}
    found = {}
    if azure["deployment"]:
        found["x-portkey-azure-deployment-id"] = azure["deployment"]
    if version := parse_qs(azure["query"]).get("api-version"):
        found["x-portkey-azure-api-version"] = version[0]
    if resource := _RESOURCE.fullmatch(origin.host):
        found["x-portkey-azure-resource-name"] = resource[1]
    return {name: value for name, value in found.items() if value.isascii() and value.isprintable()}


def upstream_of(origin: Origin, spoken: str) -> str:
    """The base URL of a provider's API as the gateways know it, whatever its SDK counts to the path."""
    if origin.azure and (azure := _AZURE_PATH.match(f"{origin.path}/")):
        return f"{origin.scheme}://{origin.address}{azure['base']}/openai"
    return origin.url if origin.path else f"{origin.url}{whose(origin, spoken).base}"


def deployment_of(origin: Origin, path: str) -> str | None:
    """The Azure deployment that a URL names, which is what Azure runs whatever the body says."""
    match = _AZURE_PATH.match(f"{origin.path}{path}") if origin.azure else None
    return unquote(match["deployment"]) if match and match["deployment"] else None


def _joined(route: Route, path: str) -> str:
    # Bedrock's paths are universal as they are.
    return f"{route.base_url}{path if path.startswith('/model/') else route.universal + path}"


def _below(base: str, path: str) -> str:
    """What of a path lies below a base, in whole segments; all of it where it lies elsewhere."""
    rest = path.removeprefix(base)
    return rest if not rest or rest[0] in "/?" else path


def _without(path: str, names: frozenset[str]) -> str:
    """A path with its query less some parameters; as it was where it has none of them."""
    way, mark, query = path.partition("?")
    if not mark or not names:
        return path
    kept = "&".join(part for part in query.split("&") if unquote(part.partition("=")[0]) not in names)
    return f"{way}?{kept}" if kept else way
