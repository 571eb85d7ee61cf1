"""What an HTTP caller is told when a call is stopped: status, headers and a body in OpenAI's shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from .codecs.openai import error_body
from .codecs.parts import dump_json
from .errors import (
    BlockedError,
    GatewayError,
    GuardError,
    HighflameError,
    UnprovenError,
    UnreadableError,
    UnsupportedError,
    UpstreamError,
    UpstreamTimeoutError,
)
from .types import Decision

__all__ = ["Denial", "deny"]

# A verdict is a refusal, not a fault: its statuses are those of Highflame Shield.
_DECISIONS: Mapping[Decision, int] = MappingProxyType(
    {Decision.DENY: 403, Decision.MODIFY: 403, Decision.STEP_UP: 401, Decision.DEFER: 425}
)
# RFC 9470, with the level of assurance that Highflame's authorisation server knows.
_STEP_UP = 'Bearer error="insufficient_user_authentication", acr_values="urn:highflame:aarm:step_up"'
_FAULTS: tuple[tuple[type[HighflameError], int, str], ...] = (
    (GuardError, 503, "guard_unavailable"),
    (UnprovenError, 503, "unproven"),
    (UnreadableError, 400, "unreadable"),
    (UpstreamTimeoutError, 504, "upstream_timeout"),
    (UpstreamError, 502, "upstream_failed"),
    (UnsupportedError, 501, "unsupported_format"),
    (GatewayError, 404, "no_provider"),
)


@dataclass(frozen=True, slots=True)
class Denial:
    """An HTTP answer that says no."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def deny(error: HighflameError, *, status: int | None = None, code: str | None = None) -> Denial:
    """The answer for an error; ``status`` and ``code`` where the door knows better.

    >>> from highflame_middleware.types import GuardResponse, Stage
    >>> deny(BlockedError(GuardResponse(decision=Decision.DEFER), Stage.PROMPT)).status
    425
    """
    headers = [("content-type", "application/json")]
    if isinstance(error, BlockedError):
        headers.append(("x-highflame-policy-decision", error.decision.value))
        if error.decision is Decision.STEP_UP:
            headers.append(("www-authenticate", _STEP_UP))
        found, name = _DECISIONS.get(error.decision, 403), f"blocked_{error.decision.value}"
    else:
        found, name = next(
            ((status, name) for kind, status, name in _FAULTS if isinstance(error, kind)), (500, "fault")
        )
    body = dump_json(error_body(str(error), code or name))
    headers.append(("content-length", str(len(body))))
    return Denial(status or found, tuple(headers), body)
