"""The response that openai-responses answers with, whole; also the last event of its streams says it."""

from __future__ import annotations

from typing import Any

from .conversation import RefusalPart, Reply, ToolCallPart
from .fields import form_of, keep, kept, mapping, string
from .leftovers import Leftover
from .openai_parts import merged, read_usage, write_usage
from .openai_responses_items import NAME, read_output, write_output
from .translator import UntranslatableError

__all__ = ["USAGE", "new_response", "read_finish", "read_reply", "write_finish", "write_reply"]

USAGE = ("input_tokens", "output_tokens", "input_tokens_details", "output_tokens_details")
_ENDING = ("status", "incomplete_details", "error")


def read_reply(body: Any) -> Reply:
    """A response."""
    if not isinstance(output := mapping(body).get("output"), list):
        raise UntranslatableError(f"this is no reply of {NAME}")
    left = Leftover(body)
    del left.rest["output"]
    parts = read_output(output)
    usage, tally = read_usage(left.rest.get("usage"), USAGE)
    if isinstance(left.rest.get("usage"), dict):
        left.rest["usage"] = tally
    called = any(isinstance(part, ToolCallPart) for part in parts)
    refused = any(isinstance(part, RefusalPart) for part in parts)
    finish = read_finish(body, called=called, refused=refused)
    # The fields that say how it ended, for as long as it did end so.
    ending = {key: left.rest.pop(key) for key in _ENDING if key in left.rest}
    identity, model = left.take("id", string), left.take("model", string)
    extra = keep(NAME, left.rest, form={"ending": (finish, ending)})
    return Reply(id=identity, model=model, parts=parts, finish=finish, usage=usage, extra=extra)


def write_reply(reply: Reply) -> dict[str, Any]:
    """A response."""
    form = mapping(form_of(NAME, reply.extra))
    body: dict[str, Any] = {} if form else new_response(reply.id, reply.model)
    body["output"] = write_output(reply.parts, reply.id or "translated")
    body.update({key: value for key, value in (("id", reply.id), ("model", reply.model)) if value is not None})
    meant, ending = form.get("ending", (None, None))
    refused = any(isinstance(part, RefusalPart) for part in reply.parts)
    body.update(ending if form and meant == reply.finish else write_finish(reply.finish, refused=refused))
    if reply.usage is not None:
        body["usage"] = write_usage(reply.usage, USAGE, details=not form)
        if (total := mapping(kept(NAME, reply.extra).get("usage")).get("total_tokens")) is not None:
            body["usage"]["total_tokens"] = total
    return merged(kept(NAME, reply.extra), body)


def new_response(identity: str | None, model: str | None) -> dict[str, Any]:
    """A response of which nothing is said yet, with the fields that its readers look for."""
    return {
        "id": identity or "resp_translated",
        "object": "response",
        "created_at": 0,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": model or "",
        "output": [],
        "parallel_tool_calls": True,
        "temperature": None,
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
    }


def read_finish(body: Any, *, called: bool, refused: bool) -> str | None:
    """Why a response ended, which here its output tells; nothing while it goes on."""
    status = mapping(body).get("status")
    if status in ("queued", "in_progress"):
        return None
    if status in ("failed", "cancelled"):
        return "error"
    if status == "incomplete":
        reason = mapping(mapping(body).get("incomplete_details")).get("reason")
        return "content_filter" if reason == "content_filter" else "length"
    return "tool_calls" if called else "refusal" if refused else "stop"


def write_finish(finish: str | None, *, refused: bool) -> dict[str, Any]:
    """The fields that say why a response ended. A refusal that says nothing is a filter's."""
    said: dict[str, Any] = {"status": "completed", "error": None, "incomplete_details": None}
    reasons = {"length": "max_output_tokens", "content_filter": "content_filter"}
    if not refused:
        reasons["refusal"] = "content_filter"
    if finish in reasons:
        said.update(status="incomplete", incomplete_details={"reason": reasons[finish]})
    elif finish == "error":
        said.update(status="failed", error={"code": "server_error", "message": "the provider failed"})
    return said
