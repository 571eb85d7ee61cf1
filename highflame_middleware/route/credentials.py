"""Which of a client's credentials a gateway gets to see, and what a request leaves when led elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .routes import Route

__all__ = ["CLIENT_KEYS", "readdressed", "taken_off"]

# Where the SDKs put their keys.
CLIENT_KEYS = frozenset({"authorization", "api-key", "x-api-key", "x-goog-api-key"})
# Headers that concern nobody but a gateway.
_GATEWAYS = ("x-highflame-", "x-javelin-", "x-portkey-")
_SIGNED = ("aws4-hmac-", "aws4-ecdsa-", "aws ")
_AMAZON = "x-amz-"
# What the SDKs tell the API of one format alone.
_OF_ONE_API = ("anthropic-", "x-goog-", "amz-")


def readdressed(route: Route, present: Mapping[str, str]) -> tuple[frozenset[str], dict[str, str]]:
    """The headers to remove from a request to the gateway, and those to set, by what it bears.

    A signature is for the host it was made for: it goes to no gateway that does not carry what was signed.
    What a header tells the API of one format is nothing to that of another.

    >>> from highflame_middleware.route import Route
    >>> route = Route(dialect="portkey", base_url="http://gw/v1", bearer="api-key")
    >>> readdressed(route, {"api-key": "k"})
    (frozenset({'api-key'}), {'authorization': 'Bearer k'})
    """
    dropped, headers = set(route.dropped), {}
    if not route.signed:
        dropped |= {name.lower() for name in present if name.lower().startswith(_AMAZON)}
        if present.get("authorization", "").lower().startswith(_SIGNED):
            dropped.add("authorization")
    if route.into is not None:
        dropped |= {name.lower() for name in present if name.lower().startswith(_OF_ONE_API)}
    if route.bearer is not None and (key := present.get(route.bearer)):
        dropped.add(route.bearer)
        headers["authorization"] = f"Bearer {key}"
    return frozenset(dropped), {**headers, **route.headers}


def taken_off(route: Route, present: Iterable[str]) -> frozenset[str]:
    """The headers that a request must not take along where a redirect leads it away from the gateway."""
    return frozenset(
        name.lower()
        for name in present
        if name.lower() in CLIENT_KEYS | route.headers.keys()
        or name.lower() in ("cookie", "proxy-authorization")
        or name.lower().startswith((*_GATEWAYS, _AMAZON))
    )
