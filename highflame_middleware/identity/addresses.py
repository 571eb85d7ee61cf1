"""Where an authority is asked: only over TLS, or on this machine."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from ..errors import ConfigError

__all__ = ["JWKS_PATH", "METADATA_PATH", "below", "is_safe", "metadata_url", "safe_url"]

JWKS_PATH = "/.well-known/jwks.json"
METADATA_PATH = "/.well-known/oauth-authorization-server"
_LONGEST = 2_048


def is_safe(url: str) -> bool:
    """Whether an address may be asked for keys: what comes from it can be changed by nobody on the way.

    >>> is_safe("https://auth.example.com/keys"), is_safe("http://127.0.0.1:8/keys"), is_safe("http://auth.example.com/")
    (True, True, False)
    """
    if len(url) > _LONGEST or not url.isascii() or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    if not host or "@" in parts.netloc or parts.fragment:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def safe_url(url: object, name: str) -> str:
    """An address as it was given; a `ConfigError` that names the option for one that may not be asked."""
    if isinstance(url, str) and is_safe(url):
        return url
    raise ConfigError(f"{name} cannot be used: give an https address, or http on this machine's loopback")


def below(issuer: str, path: str) -> str:
    """An address of an issuer's, at a path of its own."""
    return issuer.rstrip("/") + path


def metadata_url(issuer: str) -> str:
    """Where an issuer describes itself (RFC 8414).

    >>> metadata_url("https://auth.example.com/tenant")
    'https://auth.example.com/.well-known/oauth-authorization-server/tenant'
    """
    parts = urlsplit(issuer)
    return f"{parts.scheme}://{parts.netloc}{METADATA_PATH}{parts.path.rstrip('/')}"
