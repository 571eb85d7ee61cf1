"""What an HTTP caller is told when a call is stopped: status, headers, and a body in the shape of its own API."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from .codecs.openai import error_body
from .codecs.parts import dump_json
from .errors import (
    BlockedError,
    GatewayError,
    GuardError,
    HighflameError,
    IdentityError,
    IdentityUnavailableError,
    InsufficientError,
    QuotaError,
    UnprovenError,
    UnreadableError,
    UnsupportedError,
    UpstreamError,
    UpstreamTimeoutError,
)
from .types import Decision

__all__ = ["SHAPES", "Denial", "deny"]

# A verdict is a refusal, not a fault: its statuses are those of Highflame Shield.
_DECISIONS: Mapping[Decision, int] = MappingProxyType(
    {Decision.DENY: 403, Decision.MODIFY: 403, Decision.STEP_UP: 401, Decision.DEFER: 425}
)
# RFC 9470, with the level of assurance that Highflame's authorisation server knows.
_STEP_UP = 'Bearer error="insufficient_user_authentication", acr_values="urn:highflame:aarm:step_up"'
_INVALID_TOKEN = 'Bearer error="invalid_token"'  # noqa: S105 - RFC 6750
# Seconds after which it is worth to ask again about what was deferred, where the guard does not say.
_DEFERRED = 5.0
_FAULTS: tuple[tuple[type[HighflameError], int, str], ...] = (
    (GuardError, 503, "guard_unavailable"),
    (IdentityUnavailableError, 503, "identity_unavailable"),
    (InsufficientError, 403, "insufficient"),
    (IdentityError, 401, "unauthenticated"),
    (QuotaError, 429, "too_many_requests"),
    (UnprovenError, 503, "unproven"),
    (UnreadableError, 400, "unreadable"),
    (UpstreamTimeoutError, 504, "upstream_timeout"),
    (UpstreamError, 502, "upstream_failed"),
    (UnsupportedError, 501, "unsupported_format"),
    (GatewayError, 404, "no_provider"),
)
# What the makers call the statuses; the rest go under the general word.
_ANTHROPIC: Mapping[int, str] = MappingProxyType(
    {
        400: "invalid_request_error",
        401: "authentication_error",
        403: "permission_error",
        404: "not_found_error",
        413: "request_too_large",
        429: "rate_limit_error",
    }
)
_GOOGLE: Mapping[int, str] = MappingProxyType(
    {
        400: "INVALID_ARGUMENT",
        401: "UNAUTHENTICATED",
        403: "PERMISSION_DENIED",
        404: "NOT_FOUND",
        429: "RESOURCE_EXHAUSTED",
        500: "INTERNAL",
        501: "UNIMPLEMENTED",
        503: "UNAVAILABLE",
        504: "DEADLINE_EXCEEDED",
    }
)


def _openai(status: int, code: str, message: str) -> dict[str, Any]:  # noqa: ARG001 - its body has no status
    return error_body(message, code)


def _anthropic(status: int, code: str, message: str) -> dict[str, Any]:
    return {
        "type": "error",
        "error": {"type": _ANTHROPIC.get(status, "api_error"), "message": message, "code": code},
    }


def _gemini(status: int, code: str, message: str) -> dict[str, Any]:
    about = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": code.upper(),
        "domain": "highflame.ai",
    }
    named = _GOOGLE.get(status, "FAILED_PRECONDITION")
    return {"error": {"code": status, "message": message, "status": named, "details": [about]}}


def _problem(status: int, code: str, message: str) -> dict[str, Any]:
    """RFC 9457, with OpenAI's object beside it for those who look for that whatever they are answered."""
    title = HTTPStatus(status).phrase
    about = {"type": f"urn:highflame:problem:{code}", "title": title, "status": status, "detail": message}
    return {**about, "code": code, **error_body(message, code)}


# How a body says no, by who the caller takes us for, and the type that it goes under.
SHAPES: Mapping[str, tuple[str, Callable[[int, str, str], dict[str, Any]]]] = MappingProxyType(
    {
        "openai": ("application/json", _openai),
        "anthropic": ("application/json", _anthropic),
        "gemini": ("application/json", _gemini),
        "problem": ("application/problem+json", _problem),
    }
)


@dataclass(frozen=True, slots=True)
class Denial:
    """An HTTP answer that says no."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def deny(
    error: HighflameError,
    *,
    status: int | None = None,
    code: str | None = None,
    shape: str = "openai",
    headers: Iterable[tuple[str, str]] = (),
) -> Denial:
    """The answer for an error; ``status``, ``code`` and more ``headers`` where the door knows better.

    ``shape`` is one of `SHAPES`: whose error the body is.

    >>> from highflame_middleware.types import GuardResponse, Stage
    >>> later = deny(BlockedError(GuardResponse(decision=Decision.DEFER), Stage.PROMPT), shape="problem")
    >>> later.status, dict(later.headers)["content-type"], dict(later.headers)["retry-after"]
    (425, 'application/problem+json', '5')
    """
    kind, write = SHAPES[shape]
    told = [("content-type", kind)]
    if isinstance(error, BlockedError):
        challenge = error.response.challenge
        told.append(("x-highflame-policy-decision", error.decision.value))
        if error.decision is Decision.STEP_UP:
            told.append(("www-authenticate", _line(challenge.www_authenticate if challenge else None) or _STEP_UP))
        if error.decision is Decision.DEFER:
            told.append(("retry-after", _seconds(challenge.interval if challenge else _DEFERRED)))
        found, name = _DECISIONS.get(error.decision, 403), f"blocked_{error.decision.value}"
    else:
        found, name = next(
            ((status, name) for kind, status, name in _FAULTS if isinstance(error, kind)), (500, "fault")
        )
    if isinstance(error, IdentityError):
        name = error.code
        if (status or found) == 401:
            # A 401 has to say how somebody is let in; a door that knows more says it in ``headers``.
            told.append(("www-authenticate", "Bearer" if name == "missing_token" else _INVALID_TOKEN))
    if isinstance(error, QuotaError | IdentityUnavailableError):
        told.append(("retry-after", _seconds(error.retry_after)))
    given = [(name, value) for name, value in headers if name not in ("content-type", "content-length")]
    kept = {name for name, _ in given}
    body = dump_json(write(status or found, code or name, str(error)))
    return Denial(
        status or found,
        (
            *((name, value) for name, value in told if name not in kept),
            *given,
            ("content-length", str(len(body))),
        ),
        body,
    )


def _seconds(wait: float) -> str:
    """Whole seconds, 1 at least and an hour at most."""
    return str(max(1, math.ceil(min(wait, 3600.0))))


def _line(value: str | None) -> str | None:
    """A guard's own words for a header, where a header may carry them."""
    return value if value and value.isascii() and value.isprintable() else None
