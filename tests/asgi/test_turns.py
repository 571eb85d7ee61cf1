"""How many guards are asked at once: who gets no turn in time has no verdict."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from highflame_middleware import HighflameMiddleware
from tests.asgi.kit import Echo
from tests.gateway_kit import BACKENDS, asking, body_of, scope_of, serve


def crowd(count: int, backend: str, **options: Any) -> tuple[list[int], int]:
    """Statuses of as many requests at once, and how many guards were asked at once."""
    asked = most = 0

    async def guard(request: Any) -> bool:
        nonlocal asked, most
        asked += 1
        most = max(most, asked)
        await anyio.sleep(0.02)
        asked -= 1
        return True

    app = HighflameMiddleware(Echo(), guard=guard, **options)
    statuses: list[int] = []

    async def one() -> None:
        statuses.append((await serve(app, scope_of(), [body_of(asking())])).status)

    async def run() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(count):
                group.start_soon(one)

    anyio.run(run, backend=backend)
    anyio.run(one, backend=backend)  # on another loop, as after a fork
    return statuses, most


@pytest.mark.parametrize("backend", BACKENDS)
def test_so_many_and_no_more(backend: str) -> None:
    statuses, most = crowd(20, backend, max_evaluations=4)
    assert (set(statuses), most) == ({200}, 4)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("fail_open", "late"), [(False, 503), (True, 200)])
def test_a_turn_that_does_not_come_in_time(fail_open: bool, late: int, backend: str) -> None:
    events: list[Any] = []
    options: dict[str, Any] = {"deadline": 0.05, "fail_open": fail_open, "on_decision": events.append}
    statuses, most = crowd(20, backend, max_evaluations=1, **options)
    assert most == 1
    assert set(statuses) == {200, late}
    missed = [event for event in events if event.decision == "error"]
    assert missed
    assert all("No turn" in event.reason for event in missed)
