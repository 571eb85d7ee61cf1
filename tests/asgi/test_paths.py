"""Paths: which are guarded, and how; what an attacker spells otherwise is none of the exceptions."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from highflame_middleware import ConfigError, HighflameMiddleware
from highflame_middleware.asgi.middleware import HEALTH_PATHS
from highflame_middleware.testing import FakeGuard
from tests.asgi.kit import Echo, through
from tests.gateway_kit import ASK, ask


@pytest.mark.parametrize(
    ("options", "path", "status"),
    [
        ({}, "/x", 403),
        *(({}, path, 200) for path in HEALTH_PATHS),
        ({}, "/health/", 403),
        ({}, "/health/x", 403),
        ({}, "//health", 403),
        ({"health_paths": ["/up"]}, "/health", 403),
        ({"health_paths": ["/up"]}, "/up", 200),
        ({"exclude_paths": ["/static/*", "/raw"]}, "/static/a", 200),
        ({"exclude_paths": ["/static/*", "/raw"]}, "/static/a/b", 200),
        ({"exclude_paths": ["/static/*", "/raw"]}, "/raw", 200),
        ({"exclude_paths": ["/static/*", "/raw"]}, "/rawer", 403),
        ({"exclude_paths": ["/static/*", "/raw"]}, "/raw/", 403),
        ({"exclude_paths": ["/static/*", "/raw"]}, "/static", 403),
        ({"exclude_paths": ["/static/*", "/raw"]}, "/static/../x", 403),
        ({"exclude_paths": ["/static/*", "/raw"]}, "/static//x", 403),
        ({"exclude_paths": ["/static/*", "/raw"]}, "/static/./x", 403),
        ({"only_paths": ["/chat", "/agents/*"]}, "/chat", 403),
        ({"only_paths": ["/chat", "/agents/*"]}, "/chat/", 403),
        ({"only_paths": ["/chat", "/agents/*"]}, "//chat", 403),
        ({"only_paths": ["/chat", "/agents/*"]}, "/x/../chat", 403),
        ({"only_paths": ["/chat", "/agents/*"]}, "/agents/a/b", 403),
        ({"only_paths": ["/chat", "/agents/*"]}, "/other", 200),
        ({"only_paths": ["*"]}, "/other", 403),
        ({"only_paths": []}, "/other", 200),
        ({"only_paths": ["/a/*"], "exclude_paths": ["/a/b"]}, "/a/b", 200),
    ],
)
def test_which_paths_are_guarded(options: dict[str, Any], path: str, status: int) -> None:
    app = Echo()
    sent = through(app, ASK, path=path, **options)
    assert sent.status == status
    assert sent.header("x-request-id"), "an id has every one of them"
    assert status == 403 or app.contexts[0].request_id


def test_a_path_that_fails_open() -> None:
    def broken(request: Any) -> bool:
        raise RuntimeError("down")

    app = Echo()
    for path, status in (("/a", 503), ("/open", 200), ("/open/", 503)):
        assert through(app, ASK, path=path, guard=broken, fail_open_paths=["/open"]).status == status
    body = b'{"messages": '
    assert through(app, body, path="/open", fail_open_paths=["/open"]).status == 200
    assert through(app, ASK, path="/open", fail_open_paths=["/open"]).status == 403, "a verdict is no failure"


def test_paths_are_those_of_the_application_that_is_mounted() -> None:
    inner = HighflameMiddleware(Echo(), guard=FakeGuard(deny=["SECRET"]), only_paths=["/chat"])
    app = Starlette(routes=[Mount("/api", app=inner)])
    assert ask(app, ASK, path="/api/chat").status == 403
    assert ask(app, ASK, path="/api/other").status == 200
    outer = HighflameMiddleware(Echo(), guard=FakeGuard(deny=["SECRET"]), only_paths=["/api/chat"])
    assert ask(outer, ASK, path="/api/chat").status == 403


@pytest.mark.parametrize(
    "option", ["exclude_paths", "health_paths", "fail_open_paths", "exempt_paths", "only_paths"]
)
@pytest.mark.parametrize("given", ["/chat", ["chat"], ["/a*"], ["/a/*/b"], [3], [""], {"/a": 1}, 7])
def test_paths_that_are_none(option: str, given: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        HighflameMiddleware(Echo(), guard=None, **{option: given})
    assert option in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"formats": {"/a": "no-such"}},
        {"formats": ["/a"]},
        {"formats": {"a": "openai-chat"}},
        {"select": {"a": ["x"]}},
        {"select_out": {"a": ["x"]}},
        {"max_depth": 0},
        {"max_evaluations": 0},
        {"max_evaluations": True},
        {"identify": "ada"},
        {"on_blocked": "no"},
        {"authenticator": object()},
        {"required_scopes": {"/a": ["b"]}},
        {"required_trust": {"/a": "first_party"}},
        {"resource_metadata": {}},
        {"rate_limits": {}},
        {"rate_limits": {"colour": "1/minute"}},
        {"rate_limits": {"user": "often"}},
        {"rate_limits": {"user": "1/minute"}, "rate_storage": "nowhere"},
        {"rate_limits": {"user": "1/minute"}, "rate_storage": "nosuch://x"},
        {"websocket_refusal": "shout"},
    ],
)
def test_other_options_that_cannot_be_used(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        HighflameMiddleware(Echo(), guard=None, **options)
    assert next(iter(options)) in str(caught.value) or "rate_storage" in str(caught.value)
