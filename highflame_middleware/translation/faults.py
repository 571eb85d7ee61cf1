"""An API's error in each format's own shape, so that an SDK raises what it raises for its own API's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

__all__ = ["write_fault"]

_MOST = 2000
# Where the APIs, and what stands before them, say what went wrong.
_PLACES: tuple[tuple[str, ...], ...] = (("error", "message"), ("message",), ("error",), ("detail",), ("Message",))
# How each API names what a status means; for any other it has one name below 500 and one from there on.
_ANTHROPIC: Mapping[int, str] = MappingProxyType(
    {
        401: "authentication_error",
        402: "billing_error",
        403: "permission_error",
        404: "not_found_error",
        413: "request_too_large",
        429: "rate_limit_error",
        504: "timeout_error",
        529: "overloaded_error",
    }
)
_GOOGLE: Mapping[int, str] = MappingProxyType(
    {
        401: "UNAUTHENTICATED",
        403: "PERMISSION_DENIED",
        404: "NOT_FOUND",
        408: "DEADLINE_EXCEEDED",
        409: "ABORTED",
        429: "RESOURCE_EXHAUSTED",
        503: "UNAVAILABLE",
        504: "DEADLINE_EXCEEDED",
    }
)
_AMAZON: Mapping[int, str] = MappingProxyType(
    {
        401: "AccessDeniedException",
        403: "AccessDeniedException",
        404: "ResourceNotFoundException",
        408: "ModelTimeoutException",
        424: "ModelErrorException",
        429: "ThrottlingException",
        503: "ServiceUnavailableException",
    }
)


def write_fault(body: Any, status: int, target: str) -> dict[str, Any]:
    """An error's body, of whichever API, as the body of an error of this status in the format ``target``.

    >>> write_fault({"error": {"message": "Slow down", "type": "requests"}}, 429, "anthropic-messages")
    {'type': 'error', 'error': {'type': 'rate_limit_error', 'message': 'Slow down'}}
    >>> write_fault("<html>", 502, "bedrock-converse")
    {'__type': 'InternalServerException', 'message': 'The gateway answered with status 502'}
    """
    said = next((words for place in _PLACES if (words := _at(body, place)) is not None), None)
    return _WRITERS[target](body, status, (said or f"The gateway answered with status {status}")[:_MOST])


def _at(body: Any, place: tuple[str, ...]) -> str | None:
    for key in place:
        body = body.get(key) if isinstance(body, dict) else None
    return body if isinstance(body, str) and body.strip() else None


def _named(names: Mapping[int, str], status: int, wrong: str, broken: str) -> str:
    return names.get(status) or (wrong if status < 500 else broken)


def _openai(body: Any, status: int, message: str) -> dict[str, Any]:
    error = body.get("error") if isinstance(body, dict) else None
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        return {"error": error}
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


def _anthropic(_body: Any, status: int, message: str) -> dict[str, Any]:
    kind = _named(_ANTHROPIC, status, "invalid_request_error", "api_error")
    return {"type": "error", "error": {"type": kind, "message": message}}


def _gemini(_body: Any, status: int, message: str) -> dict[str, Any]:
    kind = _named(_GOOGLE, status, "INVALID_ARGUMENT", "INTERNAL")
    return {"error": {"code": status, "message": message, "status": kind}}


def _bedrock(_body: Any, status: int, message: str) -> dict[str, Any]:
    kind = _named(_AMAZON, status, "ValidationException", "InternalServerException")
    return {"__type": kind, "message": message}


_WRITERS: Mapping[str, Callable[[Any, int, str], dict[str, Any]]] = MappingProxyType(
    {
        "openai-chat": _openai,
        "openai-responses": _openai,
        "anthropic-messages": _anthropic,
        "gemini": _gemini,
        "bedrock-converse": _bedrock,
    }
)
