"""For every test: a clean environment, no network beyond this machine, nothing left instrumented."""

from __future__ import annotations

import ipaddress
import logging
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from highflame_middleware import instrument, uninstrument
from highflame_middleware.instrumentation import Instrumentation
from tests.servers import Server, running


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No setting of the machine's, and no settings file of the working directory's."""
    for name in list(os.environ):
        if name.startswith(
            ("HIGHFLAME_", "JAVELIN_", "OTEL_", "OPENAI_", "AZURE_", "PORTKEY_")
        ) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path_factory.mktemp("cwd"))
    monkeypatch.setattr("highflame_middleware.config._warned", set())


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.socket.connect

    def local_only(self: socket.socket, address: Any) -> Any:
        host = address[0] if isinstance(address, tuple) else None
        if host is not None and not ipaddress.ip_address(host).is_loopback:
            raise OSError(f"tests stay on this machine: {host}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local_only)


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Some servers and notebooks set the root logger's level, for whatever runs after them in this process."""
    root = logging.getLogger()
    level = root.level
    yield
    root.setLevel(level)


@pytest.fixture(autouse=True)
def _nothing_left_instrumented() -> Iterator[None]:
    yield
    uninstrument()


@pytest.fixture
def provider() -> Iterator[Server]:
    """Where a client would send its calls by itself."""
    with running() as server:
        yield server


@pytest.fixture
def gateway() -> Iterator[Server]:
    """Where the calls are to go instead."""
    with running() as server:
        yield server


@pytest.fixture
def routed(gateway: Server) -> Callable[..., Instrumentation]:
    """Instrument so that every call, to this machine's addresses too, goes to the gateway."""
    from highflame_middleware import Settings

    def start(**changes: Any) -> Instrumentation:
        options = {"gateway": "openai-compatible", "base_url": f"{gateway.url}/v1", "guard": None, **changes}
        # The tests' gateway takes whatever there is a codec for, so that every seam can be seen to reach it.
        options.setdefault("carries", ("*",))
        return instrument(settings=Settings(**options, reroute_hosts=("*",)))

    return start
