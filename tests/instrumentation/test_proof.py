"""Seams are proven on the installed versions before their first call; what is not is refused, or warned of."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from importlib import metadata
from typing import Any

import openai
import pytest

from highflame_middleware import ConfigError, UnprovenError, instrument
from highflame_middleware.instrumentation import Instrumentation, wire
from highflame_middleware.instrumentation.probe import PROBES, prove
from highflame_middleware.testing import CapturedSpans, FakeGuard
from tests.instrumentation.kits.openai import CASES, KIT, speaking
from tests.servers import Server

Start = Callable[..., Instrumentation]


def _is_installed(sdk: str) -> bool:
    try:
        metadata.version(sdk)
    except metadata.PackageNotFoundError:
        return False
    return True


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """An SDK whose asynchronous replies get past the guard."""

    async def unguarded(module: Any, call: Any, response: Any) -> Any:
        return response

    monkeypatch.setattr(wire, "_aguard", unguarded)


@pytest.mark.parametrize("sdk", [sdk for sdk in sorted(PROBES) if _is_installed(sdk)])
def test_every_seam_is_proven(sdk: str) -> None:
    with instrument(guard=None) as handle:
        assert [(proof.case, proof.detail) for proof in prove(sdk) if not proof.proven] == []
        assert handle.status()[sdk].state == "patched"


def test_the_proof_leaves_no_trace(
    provider: Server, gateway: Server, routed: Start, highflame_spans: CapturedSpans, caplog: Any
) -> None:
    caplog.set_level(logging.DEBUG, "highflame_middleware.guard")
    gateway.respond = speaking()
    guard = FakeGuard()
    routed(guard=guard)
    KIT.perform("sync", provider, CASES["chat"])
    assert len(guard.requests) == 2
    assert len(caplog.records) == 2
    assert len(highflame_spans.finished) == 1
    assert (provider.log, len(gateway.log)) == ([], 1)


def test_proving_works_under_a_running_loop(provider: Server, gateway: Server, routed: Start) -> None:
    gateway.respond = speaking()
    handle = routed(guard=FakeGuard())

    async def call() -> None:
        async with KIT.make("async", provider.url) as client:
            await CASES["chat"].call(client)

    asyncio.run(call())
    assert handle.status()["openai"].state == "patched"


@pytest.mark.usefixtures("broken")
def test_what_is_not_proven_is_refused_in_enforce(provider: Server, gateway: Server, routed: Start) -> None:
    handle = routed(guard=FakeGuard())
    with pytest.raises(UnprovenError, match=rf"openai {openai.__version__} does not behave .* on_unproven='warn'"):
        KIT.perform("sync", provider, CASES["chat"])
    assert provider.log == gateway.log == []
    status = handle.status()["openai"]
    assert status.state == "degraded"
    assert "async: the reply was not guarded" in status.reason
    assert "blocking:" not in status.reason


@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize(
    "options",
    [{"mode": "monitor"}, {"guard": None}, {"on_unproven": "warn"}, {"on_unproven": {"openai": "warn"}}],
    ids=lambda options: ", ".join(options),
)
def test_or_warned_of(
    options: dict[str, Any], provider: Server, gateway: Server, routed: Start, caplog: Any
) -> None:
    gateway.respond = speaking()
    routed(**{"guard": FakeGuard(), **options})
    KIT.perform("sync", provider, CASES["chat"])
    KIT.perform("sync", provider, CASES["chat"])
    assert len(gateway.log) == 2
    warned = [record for record in caplog.records if "is not proven to be guarded" in record.message]
    assert len(warned) == 1


def test_an_unknown_choice_is_refused() -> None:
    with pytest.raises(ConfigError, match="on_unproven='ignore' cannot be used: give one of refuse, warn"):
        instrument(settings=None, guard=None, on_unproven="ignore")
