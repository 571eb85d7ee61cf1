"""What Shield's answers mean, by status and body: a verdict, or which error. Pure."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

from ..errors import APIError, AuthenticationError, GuardError, InvalidResponseError, RateLimitError
from ..types import Decision, GuardResponse
from .fields import load, table_of, text_of
from .messages import Incoming
from .wire import read_response

__all__ = ["error_of", "is_suspension", "retries", "verdict_of"]

_RETRIED = frozenset({408, 429, 500, 502, 503, 504})
# A verdict that stops may ride on these; one that lets pass never does, whatever a proxy makes up.
_VERDICTS = frozenset({401, 403, 425})
_PASSING = frozenset({Decision.ALLOW, Decision.MODIFY})
_STEP_UP = "insufficient_user_authentication"  # RFC 9470
_DEFER = re.compile(r"/defer(/|$)")
_OAUTH = re.compile(r"[a-z_]{3,64}")
_REJECTED = frozenset({"invalid_client", "invalid_grant", "invalid_token", "unauthorized_client"})
_DETAIL = 500  # characters of what a service wrote that are kept


def verdict_of(reply: Incoming, content: str) -> GuardResponse:
    """The verdict on ``content`` in an answer, or the error that the answer is.

    A step_up comes as 401, with a verdict or a challenge; a defer as 425, or 403 when its time is up, and
    either may be an RFC 9457 problem instead of a verdict. An allow counts with success only.
    """
    challenge = reply.headers.get("www-authenticate")
    if reply.is_success:
        return read_response(load(reply.content), content, www_authenticate=challenge)
    payload = _payload(reply)
    if reply.status in _VERDICTS:
        named = payload.get("decision")
        if isinstance(named, str) and Decision(named) not in _PASSING:
            return read_response(payload, content, www_authenticate=challenge)
        if reply.status == 401 and challenge is not None and _STEP_UP in challenge:
            return read_response({**payload, "decision": "step_up"}, content, www_authenticate=challenge)
        if reply.status == 425 or (reply.status == 403 and _DEFER.search(text_of(payload.get("type")) or "")):
            return GuardResponse(decision=Decision.DEFER, policy_reason="Shield has put the decision off")
    raise error_of(reply)


def is_suspension(reply: Incoming) -> bool:
    """Whether a 401 asks the user to prove who they are, and does not refuse our token."""
    return _STEP_UP in reply.headers.get("www-authenticate", "") or (
        isinstance(named := _payload(reply).get("decision"), str) and Decision(named) not in _PASSING
    )


def retries(reply: Incoming) -> bool:
    """Whether an answer is one to try again after."""
    return reply.status in _RETRIED


def error_of(reply: Incoming, *, asked: str = "Shield") -> GuardError:
    """The error that an answer without success is; its message quotes nothing of what the service wrote."""
    payload = _payload(reply)
    code = text_of(payload.get("error")) or ""
    title = code if _OAUTH.fullmatch(code) else _phrase(reply.status)
    detail = text_of(payload.get("error_description")) or text_of(payload.get("detail")) or ""
    fields: dict[str, Any] = {"status": reply.status, "title": title, "detail": detail[:_DETAIL]}
    if 200 <= reply.status < 300:
        return InvalidResponseError(f"{asked} answered {reply.status} with what it was not asked for")
    said = f"{asked} answered {reply.status} {title}".rstrip()
    if reply.status == 401 or title in _REJECTED:
        return AuthenticationError(f"{said}: it does not take the key or token", **fields)
    if reply.status == 429:
        return RateLimitError(said, retry_after=reply.retry_after, **fields)
    return APIError(f"{said} (what it wrote is in .detail)" if detail else said, **fields)


def _payload(reply: Incoming) -> dict[str, Any]:
    """The object in an answer; empty where there is none, as in the page of a proxy."""
    try:
        return table_of(load(reply.content))
    except InvalidResponseError:
        return {}


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
