"""What a refused caller is told: challenges (RFC 6750, 9449, 9470), and where to get a token (RFC 9728). Pure."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from ..errors import ConfigError, IdentityError, IdentityUnavailableError, InsufficientError, TokenError

__all__ = ["Refusal", "challenges", "protected_resource", "protected_resource_url", "refuse", "step_up_challenge"]

_WELL_KNOWN = "/.well-known/oauth-protected-resource"
_UNQUOTABLE = re.compile(r'[^\x20-\x7e]|["\\]')
_PROOFS = frozenset({"invalid_dpop_proof", "use_dpop_nonce"})


@dataclass(frozen=True, slots=True)
class Refusal:
    """An HTTP answer that says no; header names are in lower case."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def refuse(
    error: IdentityError,
    *,
    schemes: Sequence[str] = ("Bearer",),
    realm: str | None = None,
    resource_metadata: str | None = None,
    algorithms: Sequence[str] = ("ES256", "RS256"),
) -> Refusal:
    """The answer for an error.

    >>> refusal = refuse(TokenError("the token has expired: get a new one", code="token_expired"))
    >>> refusal.status, dict(refusal.headers)["www-authenticate"]
    (401, 'Bearer error="invalid_token", error_description="the token has expired: get a new one"')
    """
    headers = [("content-type", "application/json"), ("cache-control", "no-store")]
    headers += [
        ("www-authenticate", line)
        for line in challenges(
            error, schemes=schemes, realm=realm, resource_metadata=resource_metadata, algorithms=algorithms
        )
    ]
    if isinstance(error, TokenError) and error.nonce is not None:
        headers.append(("dpop-nonce", error.nonce))
    if isinstance(error, IdentityUnavailableError):
        headers.append(("retry-after", str(max(1, math.ceil(min(error.retry_after, 3600.0))))))
    body = json.dumps({"error": error.code, "error_description": str(error)}).encode()
    headers.append(("content-length", str(len(body))))
    return Refusal(_status(error), tuple(headers), body)


def _status(error: IdentityError) -> int:
    if isinstance(error, IdentityUnavailableError):
        return 503
    if isinstance(error, InsufficientError):
        return 403
    return 400 if error.code == "invalid_request" else 401


def challenges(
    error: IdentityError,
    *,
    schemes: Sequence[str] = ("Bearer",),
    realm: str | None = None,
    resource_metadata: str | None = None,
    algorithms: Sequence[str] = ("ES256", "RS256"),
) -> tuple[str, ...]:
    """The values of ``www-authenticate``, one for each scheme that is open to the caller; none for an outage."""
    if isinstance(error, IdentityUnavailableError):
        return ()
    # What is wrong with a proof is said under its own scheme only.
    told = [scheme for scheme in schemes if scheme == "DPoP" or error.code not in _PROOFS] or list(schemes)
    return tuple(
        _challenge(
            scheme,
            {
                "realm": realm,
                **_said(error),
                "algs": " ".join(algorithms) if scheme == "DPoP" else None,
                "resource_metadata": resource_metadata,
            },
        )
        for scheme in told
    )


def _said(error: IdentityError) -> Mapping[str, str | None]:
    if error.code == "missing_token":
        return {}  # RFC 6750: nothing was wrong with what did not come
    if isinstance(error, InsufficientError):
        named = "insufficient_scope"
    else:
        named = error.code if error.code in _PROOFS or error.code == "invalid_request" else "invalid_token"
    scope = " ".join(error.scopes) if isinstance(error, InsufficientError) and error.scopes else None
    return {"error": named, "error_description": str(error), "scope": scope}


def step_up_challenge(
    *,
    acr_values: Sequence[str] = (),
    max_age: float | None = None,
    description: str = "a stronger or more recent login is required",
    scheme: str = "Bearer",
    resource_metadata: str | None = None,
) -> str:
    """The challenge that asks for a stronger or more recent login (RFC 9470), for a 401.

    >>> step_up_challenge(acr_values=["urn:highflame:aarm:step_up"], max_age=300, description="approve this")
    'Bearer error="insufficient_user_authentication", error_description="approve this", \
acr_values="urn:highflame:aarm:step_up", max_age="300"'
    """
    return _challenge(
        scheme,
        {
            "error": "insufficient_user_authentication",
            "error_description": description,
            "acr_values": " ".join(acr_values) or None,
            "max_age": None if max_age is None else f"{max_age:.0f}",
            "resource_metadata": resource_metadata,
        },
    )


def _challenge(scheme: str, fields: Mapping[str, str | None]) -> str:
    said = [f'{name}="{_UNQUOTABLE.sub("_", value)}"' for name, value in fields.items() if value]
    return f"{scheme} {', '.join(said)}" if said else scheme


def protected_resource(
    resource: str,
    *,
    authorization_servers: Sequence[str],
    scopes: Sequence[str] = (),
    jwks_uri: str | None = None,
    requires_dpop: bool = False,
    algorithms: Sequence[str] = ("ES256", "RS256"),
    **more: Any,
) -> Mapping[str, Any]:
    """The document with which a service says what it is and who gives out tokens for it (RFC 9728); ``more`` as is.

    >>> document = protected_resource("https://api.example.com", authorization_servers=["https://auth.example.com"])
    >>> document["bearer_methods_supported"]
    ['header']
    """
    protected_resource_url(resource)
    document: dict[str, Any] = {
        "resource": resource,
        "authorization_servers": list(authorization_servers),
        "bearer_methods_supported": ["header"],
        "dpop_signing_alg_values_supported": list(algorithms),
    }
    if scopes:
        document["scopes_supported"] = list(scopes)
    if jwks_uri:
        document["jwks_uri"] = jwks_uri
    if requires_dpop:
        document["dpop_bound_access_tokens_required"] = True
    return MappingProxyType({**document, **more})


def protected_resource_url(resource: str) -> str:
    """Where a service has that document.

    >>> protected_resource_url("https://api.example.com/v1")
    'https://api.example.com/.well-known/oauth-protected-resource/v1'
    """
    parts = urlsplit(resource)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.fragment or parts.query:
        raise ConfigError(f"resource={resource!r} cannot be used: give an address without query and fragment")
    return f"{parts.scheme}://{parts.netloc}{_WELL_KNOWN}{parts.path.rstrip('/')}"
