"""One Shield as its callers see it: where it is, how questions are signed and addressed, who performs the ops."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Mapping
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import uuid4

from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from .._version import __version__
from ..flow import Flow, arun, run
from ..types import Secret
from .answers import error_of, verdict_of
from .attempts import Clock
from .calls import ask
from .circuit import Circuit
from .credentials import Bearer, Credentials, ServiceKey, Ticket, is_service_key
from .events import EventReader
from .fields import dump
from .messages import Incoming, Outgoing
from .questions import seconds_of
from .replies import StreamEvent
from .transport import Transport

__all__ = ["Service", "aread_events", "checked", "opened", "read_events"]

_SENT = {
    "content-type": "application/json",
    "accept": "application/json",
    "user-agent": f"highflame-middleware/{__version__}",
}


class Service:
    """A Shield, its token endpoint and the way to both. It holds no open connection before the first question."""

    def __init__(
        self,
        *,
        key: Secret,
        is_token: bool,
        base_url: str,
        token_url: str,
        seconds: float,
        attempts: int,
        account_id: str | None,
        project_id: str | None,
        headers: Mapping[str, str],
        transport: Transport,
    ) -> None:
        self.base_url = base_url
        self.token_url = token_url
        self.seconds = seconds
        self.attempts = attempts
        self.transport = transport
        self.circuit = Circuit(urlsplit(base_url).netloc)
        self.token_circuit = Circuit(urlsplit(token_url).netloc)
        self._ids = (account_id, project_id)
        self._headers = {name.lower(): value for name, value in headers.items()}
        self.credentials: Credentials = (
            ServiceKey(key, token_url=token_url, circuit=self.token_circuit, attempts=attempts)
            if is_service_key(key.reveal()) and not is_token
            else Bearer(key)
        )

    def asking(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        seconds: float | None = None,
        query: Mapping[str, str] | None = None,
        token: Secret | None = None,
        streamed: bool = False,
    ) -> Flow[Incoming]:
        """The flow of one logical call: one key of idempotency, one total of time, whatever the attempts."""
        url = f"{self.base_url}/v1/shield/{path}"
        if query:
            url += "?" + "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
        content = dump(body) if body is not None else None
        extra = {"idempotency-key": str(uuid4())} if method == "POST" else {}
        if streamed:
            extra["accept"] = "text/event-stream"
        TraceContextTextMapPropagator().inject(extra)

        def build(ticket: Ticket) -> Outgoing:
            headers = {**_SENT, **self._headers_for(ticket), **extra, **self._headers}
            headers["authorization"] = f"Bearer {ticket.token.reveal()}"
            return Outgoing(method=method, url=url, headers=headers, body=content)

        return ask(
            build,
            self.credentials if token is None else Bearer(token),
            self.circuit,
            Clock(self.seconds if seconds is None else seconds_of(seconds)),
            attempts=self.attempts,
            streamed=streamed,
        )

    def _headers_for(self, ticket: Ticket) -> dict[str, str]:
        account, project = self._ids
        ids = {"x-account-id": account or ticket.account_id, "x-project-id": project or ticket.project_id}
        return {name: value for name, value in ids.items() if value}

    def run(self, flow: Flow[Any]) -> Any:
        """Drive a flow for a blocking caller."""
        return run(flow, self.transport.perform)

    async def arun(self, flow: Flow[Any]) -> Any:
        """Drive a flow for an asynchronous caller."""
        return await arun(flow, self.transport.aperform)


def checked(flow: Flow[Incoming]) -> Flow[Incoming]:
    """The answer, if it is what was asked for."""
    reply = yield from flow
    if not reply.is_success:
        raise error_of(reply)
    return reply


def read_events(reply: Incoming, content: str) -> Generator[StreamEvent, None, None]:
    """The events of an answer, as they come; its connection is let go of however the reading ends."""
    reader = EventReader(content)
    try:
        for chunk in reply.body:
            yield from reader.feed(chunk)
        yield from reader.last()
        reader.finish()
    finally:
        reply.body.close()


async def aread_events(reply: Incoming, content: str) -> AsyncGenerator[StreamEvent, None]:
    """The same for asynchronous readers."""
    reader = EventReader(content)
    try:
        async for chunk in reply.body:
            for event in reader.feed(chunk):
                yield event
        for event in reader.last():
            yield event
        reader.finish()
    finally:
        await reply.body.aclose()


def opened(flow: Flow[Incoming], content: str) -> Flow[Incoming | StreamEvent]:
    """The answer whose events are still to be read; or, where it is a verdict by its status, that as an event."""
    reply = yield from flow
    if reply.body is not None:
        return reply
    return StreamEvent(type="decision", verdict=verdict_of(reply, content))
