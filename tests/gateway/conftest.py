"""An upstream, and gateways in front of it, served."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from highflame_middleware import Gateway, Settings
from highflame_middleware.testing import FakeGuard, serve_on_thread
from tests.servers import Server, running, scripted


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[Server, str, str]]:
    """One upstream, and two gateways in front of it: one whose guard stops ``SECRET`` and redacts ``card``."""
    with running() as server:
        providers = {"up": {"base_url": f"{server.url}/v1", "timeout": 5.0}}
        guard = FakeGuard(deny=["SECRET"], redact=["card"])
        with (
            serve_on_thread(Gateway(settings=Settings(providers=providers, guard=guard))) as guarded,
            serve_on_thread(Gateway(settings=Settings(providers=providers, guard=None))) as plain,
        ):
            yield server, guarded, plain


@pytest.fixture
def upstream(shared: tuple[Server, str, str]) -> Server:
    """The upstream, as if new."""
    server = shared[0]
    server.log.clear()
    server.left.clear()
    server.respond = scripted([{"text": "Hello from the server."}])
    return server


@pytest.fixture
def guarded(upstream: Server, shared: tuple[Server, str, str]) -> str:
    return shared[1]


@pytest.fixture
def plain(upstream: Server, shared: tuple[Server, str, str]) -> str:
    return shared[2]


@pytest.fixture(params=["guard", "no guard"])
def served(request: pytest.FixtureRequest) -> str:
    name = "guarded" if request.param == "guard" else "plain"
    return str(request.getfixturevalue(name))
