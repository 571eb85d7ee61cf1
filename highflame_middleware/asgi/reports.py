"""Further headers of replies: the request's id, and, where nothing is stopped, what the guard said of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..asgi_types import Message, Send
from ..exchange import Policy
from ..guard.verdict import DecisionEvent, worst_severity
from ..types import Decision

__all__ = ["Report", "tagged", "tagging"]

_DECISION = b"x-highflame-policy-decision"


class Report:
    """Gathers what was decided until the reply begins: of what came in, and what of the reply was judged by then.

    ``x-highflame-policy-decision`` is ``allow``, ``modify``, or, for a decision that the mode keeps from being
    carried out, the mode (``monitor``, ``alert``): a client of ours never takes that for a refusal. A refusal
    says itself what it is.
    """

    def __init__(self, policy: Policy) -> None:
        self._told = policy.on_decision
        self._threats = 0
        self._severities: list[str] = []
        self._decision = "allow"

    def take(self, event: DecisionEvent) -> None:
        """Take one decision, and tell whoever else wants to know."""
        if event.decision == "error":
            # Nobody knows; what is stopped because of it was neither allowed nor denied.
            self._decision = "" if event.enforced else self._decision
        elif event.notable:
            self._threats += max(1, len(event.signals))
            self._severities.append(event.severity)
            if event.enforced and event.decision == Decision.MODIFY:
                self._decision = "modify"
            elif not event.mode.edits and self._decision == "allow":
                self._decision = event.mode.value
        if self._told is not None:
            self._told(event)

    def headers(self, present: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
        """The headers, beside those that are there: a refusal has said what it is."""
        if self._decision and not any(name.lower() == _DECISION for name, _ in present):
            yield _DECISION, self._decision.encode()
        yield b"x-highflame-threats", str(self._threats).encode()
        if severity := worst_severity(self._severities):
            yield b"x-highflame-severity", severity.encode()


def tagged(
    message: Message, request_id: str, headers: Iterable[tuple[bytes, bytes]], report: Report | None = None
) -> Message:
    """The start of a reply with further headers, and the request's id where it says none itself."""
    present = list(message.get("headers", ()))
    told = report.headers(present) if report is not None else ()
    for name, _ in present:
        if name.lower() == b"x-request-id":
            break
    else:
        present.append((b"x-request-id", request_id.encode("latin-1")))
    return {**message, "headers": [*present, *headers, *told]}


def tagging(
    send: Send, request_id: str, headers: Iterable[tuple[bytes, bytes]], report: Report | None = None
) -> Send:
    """A ``send`` that adds them."""

    async def sending(message: Message) -> None:
        starts = message["type"] == "http.response.start"
        await send(tagged(message, request_id, headers, report) if starts else message)

    return sending
