"""An error of any API in each format's own shape; and which calls can be translated at all."""

from __future__ import annotations

from typing import Any

import pytest

from highflame_middleware.translation import TRANSLATORS, load_translator, targets_of, write_fault

# What different gateways answer with, and what of it is told.
SAID: dict[str, tuple[Any, str]] = {
    "openai": ({"error": {"message": "Slow down", "type": "t", "code": "c"}}, "Slow down"),
    "anthropic": ({"type": "error", "error": {"type": "t", "message": "Slow down"}}, "Slow down"),
    "portkey": ({"status": "failure", "message": "Slow down"}, "Slow down"),
    "a word": ({"error": "Slow down"}, "Slow down"),
    "fastapi": ({"detail": "Slow down"}, "Slow down"),
    "a list": ([{"error": "Slow down"}], "The gateway answered with status 429"),
    "nothing": (None, "The gateway answered with status 429"),
    "no words": ({"error": {"message": ["Slow", "down"]}, "message": " "}, "The gateway answered with status 429"),
    "a book": ({"message": "x" * 5000}, "x" * 2000),
}
MESSAGES = {
    "openai-chat": ("error", "message"),
    "openai-responses": ("error", "message"),
    "anthropic-messages": ("error", "message"),
    "gemini": ("error", "message"),
    "bedrock-converse": ("message",),
}
NAMES = {
    "anthropic-messages": ("error", "type"),
    "gemini": ("error", "status"),
    "bedrock-converse": ("__type",),
}
# By status: what the APIs call it.
STATUSES = {
    400: ("invalid_request_error", "INVALID_ARGUMENT", "ValidationException"),
    401: ("authentication_error", "UNAUTHENTICATED", "AccessDeniedException"),
    403: ("permission_error", "PERMISSION_DENIED", "AccessDeniedException"),
    404: ("not_found_error", "NOT_FOUND", "ResourceNotFoundException"),
    418: ("invalid_request_error", "INVALID_ARGUMENT", "ValidationException"),
    429: ("rate_limit_error", "RESOURCE_EXHAUSTED", "ThrottlingException"),
    500: ("api_error", "INTERNAL", "InternalServerException"),
    503: ("api_error", "UNAVAILABLE", "ServiceUnavailableException"),
}


def at(body: Any, place: tuple[str, ...]) -> Any:
    for key in place:
        body = body[key]
    return body


@pytest.mark.parametrize("target", TRANSLATORS)
@pytest.mark.parametrize("name", SAID)
def test_what_is_told(name: str, target: str) -> None:
    body, words = SAID[name]
    assert at(write_fault(body, 429, target), MESSAGES[target]) == words


@pytest.mark.parametrize("status", STATUSES)
def test_what_a_status_is_called(status: int) -> None:
    said = [at(write_fault({}, status, target), place) for target, place in NAMES.items()]
    assert said == list(STATUSES[status])


def test_what_openai_alone_says_stays() -> None:
    error = {"message": "No", "type": "t", "param": "p", "code": "c", "more": 1}
    assert write_fault({"error": error, "beside": 1}, 400, "openai-responses") == {"error": error}


# By format: paths of calls that ask for an answer, and others of the same format that do not.
PATHS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "openai-chat": (
        ("/chat/completions", "/openai/deployments/d/chat/completions?api-version=1"),
        ("/chat/completions/chatcmpl-1", "/fim/completions"),
    ),
    "openai-responses": (("/v1/responses", "/responses/"), ("/responses/r-1", "/responses/r-1/cancel")),
    "anthropic-messages": (
        ("/v1/messages?beta=true", "/projects/p/locations/l/publishers/anthropic/models/m:streamRawPredict"),
        ("/v1/messages/count_tokens", "/v1/messages/batches", "/model/m/invoke"),
    ),
    "bedrock-converse": (("/model/m%3A0/converse", "/model/m/converse-stream"), ("/model/m/count-tokens",)),
    "gemini": (
        ("/v1beta/models/m:generateContent", "/v1/publishers/google/models/m%3AstreamGenerateContent?alt=sse"),
        ("/v1beta/models/m:countTokens", "/v1beta/models/m:batchGenerateContent", "/v1beta/cachedContents"),
    ),
}


def test_which_calls_can_be_translated() -> None:
    assert set(PATHS) == set(TRANSLATORS)
    for name, (asking, others) in PATHS.items():
        expected = tuple(target for target in TRANSLATORS if target != name)
        for path in asking:
            assert targets_of(name, "POST", path) == expected, path
            assert targets_of(name, "GET", path) == ()
        for path in others:
            assert targets_of(name, "POST", path) == (), path
    assert targets_of("openai-embeddings", "POST", "/v1/embeddings") == ()
    assert targets_of("", "POST", "/v1/messages") == ()
    assert load_translator(targets_of("gemini", "POST", PATHS["gemini"][0][0])[0]).name == "openai-chat"
