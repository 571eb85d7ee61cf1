"""Beside the middlewares that applications have anyway, in every order: what holds, and which order is right."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from itertools import permutations
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from highflame_middleware import HighflameMiddleware
from highflame_middleware.testing import CapturedSpans, FakeGuard
from tests.asgi.test_reply import ANSWER
from tests.gateway_kit import Sent, ask, asking, events_of, said
from tests.servers import chunk, events

OTEL = pytest.importorskip("opentelemetry.instrumentation.asgi")
ORIGIN = "https://shop.example"
HEADERS = [("origin", ORIGIN), ("accept-encoding", "gzip")]
GUARD = "guard"
NAMES = (GUARD, "gzip", "cors", "otel")
ORDERS = [*permutations(NAMES)]


async def answer(request: Request) -> Response:
    body = await request.json()
    if body.get("stream"):
        return StreamingResponse(iter(events(chunk("The SECRET.", finish="stop"))), media_type="text/event-stream")
    return JSONResponse(body if body.get("echo") else ANSWER)


def wrapped(order: tuple[str, ...], guard: FakeGuard, spans: CapturedSpans) -> Any:
    """The application with its middlewares, the first of the order outermost."""
    app: Any = Starlette(routes=[Route("/", answer, methods=["POST"])])
    for name in reversed(order):
        if name == GUARD:
            app = HighflameMiddleware(app, guard=guard)
        elif name == "gzip":
            app = GZipMiddleware(app, minimum_size=1)
        elif name == "cors":
            app = CORSMiddleware(app, allow_origins=[ORIGIN], allow_methods=["*"])
        else:
            app = OTEL.OpenTelemetryMiddleware(
                app, tracer_provider=spans.provider, exclude_spans=["send", "receive"]
            )
    return app


def plain(sent: Sent) -> bytes:
    return gzip.decompress(sent.body) if sent.header("content-encoding") == ["gzip"] else sent.body


@pytest.mark.parametrize("order", ORDERS, ids=" ".join)
def test_every_order(
    order: tuple[str, ...], highflame_spans: CapturedSpans, caplog: pytest.LogCaptureFixture
) -> None:
    at: Mapping[str, int] = {name: place for place, name in enumerate(order)}
    outside = {name for name in NAMES if at[name] < at[GUARD]}
    redacting = wrapped(order, FakeGuard(redact=["SECRET"]), highflame_spans)

    # What comes in is guarded in every order, and a stream of events is nowhere compressed.
    came = ask(redacting, asking("my SECRET", echo=True), headers=HEADERS)
    assert b"my [redacted]" in plain(came)
    assert came.header("access-control-allow-origin") == [ORIGIN]
    streamed = ask(redacting, asking("Hi!", stream=True), headers=HEADERS)
    assert said(streamed.body) == "The [redacted]."
    assert events_of(streamed.body)[-1] == "[DONE]"

    # What goes out is guarded where it has not been compressed before; else there is a warning.
    went = ask(redacting, asking("Hi!"), headers=HEADERS)
    assert went.header("content-encoding") == ["gzip"]
    assert (b"SECRET" not in plain(went)) is ("gzip" in outside)
    assert any("compressed" in record.message for record in caplog.records) is ("gzip" not in outside)

    # A browser can read a refusal where CORS stands outside; or, of a reply, where the application has said so.
    denying = wrapped(order, FakeGuard(deny=["SECRET"]), highflame_spans)
    highflame_spans.clear()
    refused = ask(denying, asking("my SECRET"), headers=HEADERS)
    assert refused.status == 403
    assert refused.header("access-control-allow-origin") == ([ORIGIN] if "cors" in outside else [])
    servers = [span for span in highflame_spans.finished if span.kind.name == "SERVER"]
    assert [len(span.events) for span in servers] == ([1] if "otel" in outside else [])
    withheld = ask(denying, asking("Hi!"), headers=HEADERS)
    assert withheld.status == (403 if "gzip" in outside else 200)
    assert withheld.header("access-control-allow-origin") == [ORIGIN]


def test_a_preflight_passes_in_every_order(highflame_spans: CapturedSpans) -> None:
    headers = [("origin", ORIGIN), ("access-control-request-method", "POST")]
    for order in ORDERS:
        sent = ask(wrapped(order, FakeGuard(), highflame_spans), method="OPTIONS", headers=headers, json_body=False)
        assert (sent.status, sent.header("access-control-allow-origin")) == (200, [ORIGIN])
