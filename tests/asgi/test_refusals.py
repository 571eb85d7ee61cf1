"""How a request is told no: in its own API's words, or by the application; never let pass for a fault in it."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest
from google import genai
from google.genai import errors as google_errors
from starlette.responses import HTMLResponse, JSONResponse

from highflame_middleware import BlockedError, HighflameMiddleware
from highflame_middleware.testing import FakeGuard, serve_on_thread
from tests.asgi.kit import Echo, through
from tests.gateway_kit import ASK, BACKENDS, asking

# Path, headers, body; and whose error it is answered with.
SHAPES: list[tuple[str, list[tuple[str, str]], Any, str]] = [
    ("/v1/chat/completions", [], ASK, "openai"),
    ("/ask", [], ASK, "openai"),
    ("/v1/messages", [], ASK, "anthropic"),
    ("/ask", [], {**ASK, "system": "Be good."}, "anthropic"),
    ("/v1beta/models/g:generateContent", [], {"contents": [{"parts": [{"text": "SECRET"}]}]}, "gemini"),
    ("/model/m/converse", [], {"messages": [{"role": "user", "content": [{"text": "SECRET"}]}]}, "openai"),
    ("/ask", [], {"question": "SECRET"}, "problem"),
    ("/ask", [("anthropic-version", "2023-06-01")], {"question": "SECRET"}, "anthropic"),
    ("/ask", [("x-goog-api-key", "k")], {"question": "SECRET"}, "gemini"),
    ("/v1/chat/completions", [("accept", "text/html, application/problem+json;q=0.9")], ASK, "problem"),
    ("/v1/chat/completions", [], b"{", "openai"),
    ("/v1/messages", [], b"{", "anthropic"),
    ("/ask", [], b"{", "problem"),
]


def shape(body: Any) -> str:
    if "detail" in body:
        return "problem"
    if body.get("type") == "error":
        return "anthropic"
    return "gemini" if isinstance(body["error"]["code"], int) else "openai"


@pytest.mark.parametrize(("path", "headers", "body", "expected"), SHAPES)
def test_whose_error_a_caller_gets(path: str, headers: list[tuple[str, str]], body: Any, expected: str) -> None:
    sent = through(Echo(), body, path=path, headers=headers)
    assert shape(sent.json) == expected
    assert sent.header("content-type") == [
        "application/problem+json" if expected == "problem" else "application/json"
    ]
    assert sent.status == (400 if body == b"{" else 403)
    assert sent.header("x-request-id")


def test_the_makers_own_clients_read_it() -> None:
    guard = FakeGuard(deny=["SECRET"], step_up=["APPROVE"])
    with serve_on_thread(HighflameMiddleware(Echo(), guard=guard)) as url:
        with anthropic.Anthropic(base_url=url, api_key="k", max_retries=0) as client:
            for word, kind in (
                ("SECRET", anthropic.PermissionDeniedError),
                ("APPROVE", anthropic.AuthenticationError),
            ):
                with pytest.raises(kind) as caught:
                    client.messages.create(model="m", max_tokens=1, messages=[{"role": "user", "content": word}])
                assert "Blocked at the prompt stage" in caught.value.message
        options: Any = {"base_url": url}
        with genai.Client(api_key="k", http_options=options) as google:
            with pytest.raises(google_errors.ClientError) as refused:
                google.models.generate_content(model="m", contents="The SECRET")
            assert (refused.value.code, refused.value.status) == (403, "PERMISSION_DENIED")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("colour", ["plain", "asynchronous"])
def test_the_applications_own_answer(colour: str, backend: str) -> None:
    errors: list[Any] = []

    def plain(scope: Any, error: Any) -> Any:
        errors.append(error)
        return HTMLResponse(f"No: {scope['path']}", status_code=451, headers={"x-why": "because"})

    async def asynchronous(scope: Any, error: Any) -> Any:
        return plain(scope, error)

    chosen: Any = plain if colour == "plain" else asynchronous
    sent = through(Echo(), ASK, on_blocked=chosen, backend=backend, path="/ask")
    assert (sent.status, sent.body, sent.header("x-why")) == (451, b"No: /ask", ["because"])
    assert sent.header("x-request-id")
    assert isinstance(errors[0], BlockedError)
    assert through(Echo(), b"{", on_blocked=chosen).status == 451, "whatever the reason"
    assert through(Echo(), asking(), on_blocked=chosen).status == 200


def test_an_answer_of_the_applications_to_a_stopped_reply() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await JSONResponse({"answer": "The SECRET"})(scope, receive, send)

    handler: Any = lambda scope, error: JSONResponse({"sorry": error.stage.value}, status_code=200)  # noqa: E731
    sent = through(app, asking(), on_blocked=handler)
    assert (sent.status, sent.json) == (200, {"sorry": "response"})


def test_an_answer_that_is_left_to_us_or_fails() -> None:
    def fails(scope: Any, error: Any) -> Any:
        raise ZeroDivisionError

    async def fails_later(scope: Any, error: Any) -> Any:
        raise ZeroDivisionError

    for handler in (lambda scope, error: None, fails, fails_later, lambda scope, error: "text"):
        app = Echo()
        sent = through(app, ASK, on_blocked=handler)
        assert (sent.status, sent.json["error"]["code"], app.bodies) == (403, "blocked_deny", [])


def test_an_answer_that_fails_once_it_has_begun() -> None:
    """It is nobody's to mend: the server ends it."""

    async def half(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        through(Echo(), ASK, on_blocked=lambda scope, error: half)
