"""What is asked: bodies read strictly, with bounds; what is wrong with one is a 422 that quotes nothing."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl

from ..contexts import ModelContext
from ..errors import InvalidRequestError
from ..shield.fields import Field, read_strictly
from ..shield.wire import read_request
from ..types import GuardRequest, Mode
from .replies import oauth_error, problem

__all__ = ["ACTIONS", "Usage", "read_detect", "read_grant", "read_guard", "read_json", "read_usage"]

#: The actions that rules are about where they do not say so themselves.
ACTIONS = ("process_prompt", "process_response", "call_tool", "read_file", "write_file", "connect_server")

_DEPTH = 64  # levels of objects and lists in a body
_FIELDS = 20  # of a form
_ID = 256  # characters of an id
# A question to the detectors alone names no action: it is what one would do with such a text.
_IMPLIED = {
    "prompt": "process_prompt",
    "response": "process_response",
    "tool_call": "call_tool",
    "file": "read_file",
    "clipboard": "process_prompt",
}
_USAGE: Mapping[str, Field] = {
    "usage_id": Field("text", required=True),
    "session_id": Field("text"),
    "model": Field("table", required=True),
}
_TOKENS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens")
_USED: Mapping[str, Field] = {
    "model": Field("text", required=True),
    "provider": Field("text"),
    **dict.fromkeys(_TOKENS, Field("whole", at_most=1_000_000_000)),
}


@dataclass(frozen=True, slots=True)
class Usage:
    """What one call of a model has used."""

    usage_id: str
    model: ModelContext


def read_json(content: bytes) -> dict[str, Any]:
    """The object in a body."""
    try:
        payload = json.loads(content, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise problem(422, "validation failed: the body is not JSON") from None
    if not isinstance(payload, dict):
        raise problem(422, "validation failed: the body must be a JSON object")
    if _is_deep(payload):
        raise problem(422, f"validation failed: the body is nested more than {_DEPTH} levels deep")
    return payload


def read_guard(payload: dict[str, Any], *, actions: Collection[str], default_mode: Mode) -> GuardRequest:
    """A question to the guard; where it names no mode, the server's counts."""
    request = _asked(payload)
    if request.action not in actions:
        raise problem(422, f"validation failed: action must be one of {', '.join(actions)}")
    return request if payload.get("mode") is not None else replace(request, mode=default_mode)


def read_detect(payload: dict[str, Any]) -> GuardRequest:
    """A question to the detectors alone."""
    kind = payload.get("content_type")
    action = _IMPLIED.get(kind, "process_prompt") if isinstance(kind, str) else "process_prompt"
    asked = {name: value for name, value in payload.items() if name not in ("mode", "optimize", "dryrun")}
    return _asked({**asked, "action": action})


def read_usage(payload: dict[str, Any]) -> Usage:
    """A report of what a model call has used."""
    try:
        given = read_strictly(payload, _USAGE)
        used = read_strictly(given["model"], _USED, "model")
    except InvalidRequestError as error:
        raise problem(422, str(error)) from None
    if len(given["usage_id"]) > _ID:
        raise problem(422, f"validation failed: usage_id has more than {_ID} characters")
    if any(used.get(name, 0) < 0 for name in _TOKENS):
        raise problem(422, "validation failed: tokens cannot be fewer than none")
    return Usage(given["usage_id"], ModelContext(**used))


def read_grant(content: bytes, content_type: str) -> dict[str, str]:
    """What the token endpoint is asked, in JSON or as a form; only its strings."""
    if content_type == "application/x-www-form-urlencoded":
        try:
            pairs = parse_qsl(content.decode("ascii"), max_num_fields=_FIELDS, strict_parsing=True)
        except ValueError:
            raise oauth_error(400, "invalid_request", "the form cannot be read") from None
        return dict(pairs)
    try:
        payload = json.loads(content)
    except (ValueError, RecursionError):
        payload = None
    if not isinstance(payload, dict):
        raise oauth_error(400, "invalid_request", "the body must be a JSON object, or a form")
    return {name: value for name, value in payload.items() if isinstance(value, str)}


def _asked(payload: dict[str, Any]) -> GuardRequest:
    try:
        request = read_request(payload)
    except InvalidRequestError as error:
        raise problem(422, str(error)) from None
    if request.session_id is not None and len(request.session_id) > _ID:
        raise problem(422, f"validation failed: session_id has more than {_ID} characters")
    return request


def _no_number(_name: str) -> Any:
    raise ValueError("JSON has no such number")


def _is_deep(payload: Any) -> bool:
    """Whether a value is nested too deeply, found without descending into it by calls."""
    level = [payload]
    for _ in range(_DEPTH):
        level = [
            item
            for value in level
            for item in (value.values() if isinstance(value, dict) else value)
            if isinstance(item, dict | list)
        ]
        if not level:
            return False
    return True
