"""Who a request comes from: what its headers say, believed only from peers that are trusted to say it."""

from __future__ import annotations

import ipaddress
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ..errors import ConfigError

__all__ = ["Peers", "read_identity", "request_id_of"]

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


def request_id_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The request's id: the caller's where it is well-formed, else a new one."""
    for name, value in headers:
        if name.lower() == b"x-request-id" and _REQUEST_ID.fullmatch(given := value.decode("latin-1")):
            return given
    return uuid.uuid4().hex
