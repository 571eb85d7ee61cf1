"""Who may come in: a verified token's word, and what each path asks of it.

The authenticator is one of `highflame_middleware.identity`, or any object with its three methods.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import anyio

from ..asgi_types import Send
from ..errors import ConfigError, IdentityError, TokenError
from .paths import PathSet, PathTable

__all__ = ["Admission", "send_document"]

_HOST = re.compile(r"[A-Za-z0-9._~%:\[\]-]+")
# What stands in a path as it was sent.
_SPELLED = "/%~!$&'()*+,;=:@"
_PATIENCE = 2.0  # seconds that closing may take
_REFUSED_HEADERS = frozenset({"www-authenticate", "dpop-nonce", "retry-after", "cache-control"})


class Admission:
    """Asks an authenticator who makes a request."""

    def __init__(
        self,
        authenticator: Any,
        *,
        required_scopes: Mapping[str, Sequence[str]],
        required_trust: Mapping[str, str],
        exempt: PathSet,
        allow_unauthenticated: bool,
    ) -> None:
        for method in ("aauthenticate", "refuse"):
            if not callable(getattr(authenticator, method, None)):
                raise ConfigError(
                    f"authenticator={authenticator!r} has no {method}: give an identity.Authenticator"
                )
        for pattern, scopes in dict(required_scopes).items():
            if isinstance(scopes, str) or not all(isinstance(scope, str) for scope in scopes):
                raise ConfigError(f"required_scopes[{pattern!r}]={scopes!r} must be a list of scopes")
        if required_trust:
            from ..identity.claims import TRUST_LEVELS  # noqa: PLC0415 - only where tokens are verified

            if unknown := set(required_trust.values()).difference(TRUST_LEVELS):
                raise ConfigError(
                    f"required_trust: {unknown.pop()!r} is unknown: use one of {', '.join(TRUST_LEVELS)}"
                )
        self._authenticator = authenticator
        self._scopes = PathTable("required_scopes", {path: tuple(found) for path, found in required_scopes.items()})
        self._trust = PathTable("required_trust", required_trust)
        self._exempt = exempt
        self._open = allow_unauthenticated

    async def identity(self, scope: Any, head: Mapping[bytes, bytes], path: str) -> Any:
        """Who makes the request, an `identity.Identity`; None where nobody has to say. Or an `IdentityError`."""
        if path in self._exempt:
            return None
        scopes, trust = self._scopes.get(path) or (), self._trust.get(path)
        try:
            return await self._authenticator.aauthenticate(
                scope["headers"], scope.get("method", "GET"), _url_of(scope, head), scopes=scopes, min_trust=trust
            )
        except TokenError as error:
            # A token that does not hold is refused even where none is asked for: its sender means to be somebody.
            if error.code == "missing_token" and self._open and not scopes and trust is None:
                return None
            raise

    async def aclose(self) -> None:
        """Close what the authenticator has open on the running event loop, if it can."""
        close = getattr(self._authenticator, "aclose", None)
        if close is not None:
            with anyio.move_on_after(_PATIENCE), suppress(Exception):
                await close()

    def challenge(self, error: IdentityError) -> tuple[int, tuple[tuple[str, str], ...]]:
        """Status and headers of the answer to somebody who is not let in."""
        refusal = self._authenticator.refuse(error)
        return refusal.status, tuple(row for row in refusal.headers if row[0] in _REFUSED_HEADERS)


async def send_document(body: bytes, send: Send) -> None:
    """Answer with the document that says what this service is (RFC 9728)."""
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"public, max-age=3600"),
        # It is there for clients of any origin, and holds no secret.
        (b"access-control-allow-origin", b"*"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _url_of(scope: Any, head: Mapping[bytes, bytes]) -> str:
    """What the caller called, as far as this server can tell: for proofs that name it."""
    host = head.get(b"host", b"").decode("latin-1")
    if not host:
        name, port = (*(scope.get("server") or ("localhost", None)), None)[:2]
        host = name if port is None else f"{name}:{port}"
    elif not _HOST.fullmatch(host):
        # It might go on into a path of its own: then an address without a host is none that a proof can be for.
        host = ""
    raw = scope.get("raw_path")
    # Where a path ends the server has said already: nothing in it begins a query or a fragment.
    path = quote(raw.partition(b"?")[0], safe=_SPELLED) if raw else quote(scope["path"], errors="replace")
    query = scope.get("query_string", b"").decode("latin-1")
    return f"{scope.get('scheme', 'http')}://{host}{path}{'?' if query else ''}{query}"
