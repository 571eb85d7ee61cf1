"""What is answered over HTTP: JSON, events, and problems as RFC 9457 and OAuth 2 word them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from ..shield.fields import dump

__all__ = ["EVENT_STREAM", "ProblemError", "Reply", "event", "json_reply", "oauth_error", "problem"]

Headers = tuple[tuple[str, str], ...]

EVENT_STREAM: Headers = (("content-type", "text/event-stream"), ("cache-control", "no-store"))


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as it is sent."""

    status: int
    headers: Headers
    body: bytes = field(repr=False)

    def with_headers(self, headers: Iterable[tuple[str, str]]) -> Reply:
        """The answer with further headers."""
        return Reply(self.status, (*self.headers, *headers), self.body)


class ProblemError(Exception):
    """A question that cannot be answered, and what is said instead; it quotes nothing of the question."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"answered {reply.status}")
        self.reply = reply


def json_reply(status: int, body: Mapping[str, Any], *, headers: Headers = ()) -> Reply:
    """A JSON object that nobody on the way is to keep."""
    content = dump(body)
    return Reply(
        status,
        (
            ("content-type", "application/json"),
            ("cache-control", "no-store"),
            ("content-length", str(len(content))),
            *headers,
        ),
        content,
    )


def problem(status: int, detail: str, *, headers: Headers = ()) -> ProblemError:
    """A problem, to be raised; its title is the status in words.

    >>> problem(404, "there is nothing here").reply.body
    b'{"type": "about:blank", "status": 404, "title": "Not Found", "detail": "there is nothing here"}'
    """
    body = dump({"type": "about:blank", "status": status, "title": HTTPStatus(status).phrase, "detail": detail})
    kept = (
        ("content-type", "application/problem+json"),
        ("cache-control", "no-store"),
        ("content-length", str(len(body))),
    )
    return ProblemError(Reply(status, (*kept, *headers), body))


def oauth_error(status: int, code: str, description: str) -> ProblemError:
    """A refusal of the token endpoint, in OAuth's own shape."""
    return ProblemError(json_reply(status, {"error": code, "error_description": description}))


def event(name: str, data: Mapping[str, Any]) -> bytes:
    """A server-sent event that says its type twice, in its own line and beside its data: clients read either.

    >>> event("decision", {"decision": "allow"})
    b'event: decision\\ndata: {"type": "decision", "data": {"decision": "allow"}}\\n\\n'
    """
    return b"event: " + name.encode() + b"\ndata: " + dump({"type": name, "data": data}) + b"\n\n"
