"""Who a request comes from: by headers, believed only from trusted peers, or by the application's own word."""

from __future__ import annotations

import inspect
import ipaddress
import os
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, TypeAlias, cast

from ..caller import CallContext
from ..errors import ConfigError

__all__ = ["Identify", "Peers", "fields_of", "head_of", "identified", "read_identity", "request_id_of"]

Identify: TypeAlias = "Callable[[Any], Mapping[str, Any] | CallContext | Awaitable[Any] | None]"

# What an application may say of a caller; a bypass and a verified identity are not for it to claim.
_FIELDS = frozenset(item.name for item in fields(CallContext)) - {"bypass", "identity"}

# A context's field, by the header names that both families of gateways know it under.
_IDENTITY: Mapping[str, str] = MappingProxyType(
    {
        "user": "user",
        "userrole": "role",
        "role": "role",
        "session": "session",
        "session-id": "session",
        "accountid": "account",
        "account": "account",
        "application": "application",
        "route": "route",
    }
)
_FAMILIES = ("x-javelin-", "x-highflame-")
_VALUE = re.compile(r"[\x20-\x7e]{1,256}")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{8,128}")


@dataclass(frozen=True, slots=True)
class Peers:
    """The addresses whose identity headers are believed: IP addresses, networks, or ``*`` for every peer.

    >>> peers = Peers.read(["10.0.0.0/8"])
    >>> peers.trust("10.1.2.3"), peers.trust("192.0.2.1"), peers.trust(None)
    (True, False, False)
    """

    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]
    everybody: bool = False

    @classmethod
    def read(cls, given: Iterable[str]) -> Peers:
        """Peers from a setting."""
        if isinstance(given, str):
            raise ConfigError(f"trusted_peers={given!r} must be a list of addresses or networks")
        given = list(given)
        networks = []
        for item in given:
            try:
                if item != "*":
                    networks.append(ipaddress.ip_network(item))
            except ValueError as error:
                raise ConfigError(f"trusted_peers: {item!r} is no IP address, network or '*': {error}") from None
        return cls(tuple(networks), "*" in given)

    def __bool__(self) -> bool:
        return self.everybody or bool(self.networks)

    def trust(self, host: str | None) -> bool:
        """Whether a peer is trusted; one without an address, on a Unix socket say, only where everybody is."""
        if self.everybody:
            return True
        try:
            address = ipaddress.ip_address(host or "")
        except ValueError:
            return False
        # What listens on both families sees an IPv4 peer as ::ffff:192.0.2.1.
        address = getattr(address, "ipv4_mapped", None) or address
        return any(address in network for network in self.networks)


def read_identity(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, Any]:
    """The context that identity headers name; the newer family wins, malformed values are as if absent."""
    found: dict[str, Any] = {}
    lowered = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}
    for family in _FAMILIES:
        for name, field in _IDENTITY.items():
            value = lowered.get(family + name)
            if value is not None and _VALUE.fullmatch(value):
                found[field] = value
    return found


def head_of(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """A request's headers by their names in lower case, scanned once; of one that stands twice the first counts."""
    return {name.lower(): value for name, value in reversed(list(headers))}


def request_id_of(head: Mapping[bytes, bytes]) -> str:
    """The request's id: the caller's where it is well-formed, else a new one."""
    given = head.get(b"x-request-id")
    if given is not None and _REQUEST_ID.fullmatch(found := given.decode("latin-1")):
        return found
    return os.urandom(16).hex()


async def identified(identify: Identify, scope: Any) -> dict[str, Any]:
    """What the application says of a caller: fields of a context. What it raises is its own."""
    found: Any = identify(scope)
    if inspect.isawaitable(found):
        found = await found
    return fields_of(found)


def fields_of(found: Any) -> dict[str, Any]:
    """The fields of a context that were given, as a mapping or as a context.

    >>> fields_of({"user": "ada", "role": None}), fields_of(CallContext(session="s1")), fields_of(None)
    ({'user': 'ada'}, {'session': 's1'}, {})
    """
    if found is None:
        return {}
    if isinstance(found, CallContext):
        found = {name: getattr(found, name) for name in _FIELDS}
        found = {name: value for name, value in found.items() if value is not None and value != {}}
    if not isinstance(found, Mapping):
        raise ConfigError(f"identify returned {type(found).__name__}: give a mapping, a CallContext or None")
    for name, value in found.items():
        if name not in _FIELDS:
            raise ConfigError(f"identify returned {name!r}: a context has {', '.join(sorted(_FIELDS))}")
        if value is not None and not isinstance(value, Mapping if name == "metadata" else str):
            raise ConfigError(f"identify returned {type(value).__name__} as {name!r}")
        if name == "request_id" and isinstance(value, str) and not _VALUE.fullmatch(value):
            raise ConfigError("identify returned a 'request_id' that no header can carry")
    return {name: value for name, value in cast("Mapping[str, Any]", found).items() if value is not None}
