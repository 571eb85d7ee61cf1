"""Replies to requests without a body: a glance lets most of them by, a model's reply is screened all the same."""

from __future__ import annotations

import json
from typing import Any

import pytest

from highflame_middleware import BlockedError, HighflameMiddleware
from highflame_middleware.testing import FakeGuard
from highflame_middleware.types import Decision, GuardResponse, Stage
from tests.asgi.test_reply import ANSWER, App
from tests.gateway_kit import ask

GUARD = FakeGuard(deny=["SECRET"], redact=["card"])
PLAIN = json.dumps({"note": "The SECRET of a page that no model wrote"}).encode()
MODELS = json.dumps(ANSWER).encode()
WIDE = MODELS.decode().encode("utf-16-le")


def get(app: Any, **options: Any) -> Any:
    return ask(HighflameMiddleware(app, guard=GUARD, **options), method="GET")


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("app", [App([PLAIN], length=True), App([b"<p>SECRET</p>"], "text/html"), App([b""])])
def test_what_no_model_says_passes_message_by_message(app: App, method: str) -> None:
    sent = ask(HighflameMiddleware(app, guard=GUARD), method=method)
    assert sent.body == b"".join(app.pieces)
    assert [message["type"] for message in sent.messages] == ["http.response.start", "http.response.body"]
    assert len(sent.header("x-request-id")) == 1


@pytest.mark.parametrize(
    "pieces",
    [[MODELS], [MODELS[:40], MODELS[40:]], [MODELS, b""], [WIDE]],
    ids=["whole", "parts", "then", "utf-16"],
)
def test_a_models_reply_is_screened_whoever_asked(pieces: list[bytes]) -> None:
    sent = get(App(pieces, length=True))
    assert sent.status == 403
    assert "SECRET" not in sent.body.decode("utf-8", "replace")


def test_headers_of_its_own_are_there_either_way() -> None:
    for app, status in ((App([PLAIN], length=True), 200), (App([MODELS], length=True), 403)):
        sent = get(app, rate_limits={"address": "9/minute"})
        assert sent.status == status
        assert len(sent.header("ratelimit")) == len(sent.header("x-request-id")) == 1


@pytest.mark.parametrize("begun", [False, True])
def test_what_a_guarded_call_raised_is_answered_where_nothing_has_left(begun: bool) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if begun:
            headers = [(b"content-type", b"application/json"), (b"content-length", b"2")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
        raise BlockedError(GuardResponse(decision=Decision.DENY), Stage.PROMPT)

    # A start that waits for its body has not left.
    assert get(app).status == 403


def test_a_reply_that_has_left_is_not_answered_twice() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
        raise BlockedError(GuardResponse(decision=Decision.DENY), Stage.PROMPT)

    with pytest.raises(BlockedError):
        get(app)
