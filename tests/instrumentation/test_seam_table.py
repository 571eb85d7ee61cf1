"""The seam table: however an SDK is called, the gateway is reached, guarded, recorded once; not the provider."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from highflame_middleware import BlockedError
from highflame_middleware.instrumentation import Instrumentation
from highflame_middleware.testing import CapturedSpans, FakeGuard
from tests.instrumentation.kits import Case, Kit, installed_kits
from tests.servers import Server

Start = Callable[..., Instrumentation]

ROWS = [
    pytest.param(kit, case, kind, id=f"{kit.sdk}-{name}-{kind}")
    for kit in installed_kits()
    for name, case in kit.cases.items()
    for kind in case.kinds
    if kit.possible(case)
]
GUARDED = [row for row in ROWS if row.values[1].text is not None]
PROMPTED = [row for row in GUARDED if row.values[1].prompted]

pytestmark = pytest.mark.filterwarnings("ignore:coroutine method 'aclose':RuntimeWarning")


@pytest.mark.parametrize("when", ["client before", "client after"])
@pytest.mark.parametrize(("kit", "case", "kind"), ROWS)
def test_every_call_goes_to_the_gateway(
    kit: Kit,
    case: Case,
    kind: str,
    when: str,
    provider: Server,
    gateway: Server,
    routed: Start,
    highflame_spans: CapturedSpans,
) -> None:
    gateway.respond = kit.speaking(None)
    guard = FakeGuard(redact=["SECRET"])
    client = kit.make(kind, provider.url) if when == "client before" else None
    routed(guard=guard)
    result = kit.perform(kind, client if client is not None else provider, case)
    assert provider.log == []
    assert len(gateway.log) == 1
    assert gateway.log[0].path.startswith("/v1/")
    assert b"SECRET" not in gateway.log[0].body
    assert len(highflame_spans.finished) == 1, "one record a call"
    if case.text is not None:
        assert "SECRET" not in case.text(result)
        assert "[redacted]" in case.text(result)


@pytest.mark.parametrize(("kit", "case", "kind"), PROMPTED)
def test_a_denied_prompt_never_leaves(
    kit: Kit, case: Case, kind: str, provider: Server, gateway: Server, routed: Start
) -> None:
    routed(guard=FakeGuard(deny=["SECRET"]))
    with pytest.raises(BlockedError) as caught:
        kit.perform(kind, provider, case)
    assert caught.value.stage.label == "prompt"
    assert provider.log == []
    assert gateway.log == []


@pytest.mark.parametrize(("kit", "case", "kind"), GUARDED)
def test_a_denied_reply_never_arrives(
    kit: Kit, case: Case, kind: str, provider: Server, gateway: Server, routed: Start
) -> None:
    gateway.respond = kit.speaking(["All is ", "OUT."])
    routed(guard=FakeGuard(deny=["OUT"]))
    with pytest.raises(BlockedError) as caught:
        kit.perform(kind, provider, case, **kit.retrying)
    assert caught.value.stage.label == "response"
    assert len(gateway.log) == 1, "a verdict is not retried"
