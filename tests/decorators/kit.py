"""What the tests of decorators share: a guard that is easily watched."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from typing import Any

from highflame_middleware import Decision, GuardRequest, GuardResponse, Shield

CARD = "4111 1111 1111 1111"
SHOWN = "[REDACTED:credit_card]"
SECRET = "swordfish"


class Watching:
    """Takes a word out, or says what it was told to, and remembers what it was asked."""

    name = "watching"

    def __init__(self, decision: Decision = Decision.MODIFY, *, fault: Exception | None = None) -> None:
        self.asked: list[GuardRequest] = []
        self.decision, self.fault = decision, fault

    def evaluate(self, request: GuardRequest) -> GuardResponse:
        self.asked.append(request)
        if self.fault is not None:
            raise self.fault
        if SECRET not in request.content:
            return GuardResponse(decision=Decision.ALLOW)
        changed = request.content.replace(SECRET, "****") if self.decision is Decision.MODIFY else None
        return GuardResponse(decision=self.decision, policy_reason="a word", redacted_content=changed)


def plain(shield: Shield, kind: str) -> Callable[[str], Any]:
    @getattr(shield, kind)
    def act(text: str) -> str:
        return f"<{text}>"

    return act  # type: ignore[no-any-return]


def coroutine(shield: Shield, kind: str) -> Callable[[str], Any]:
    @getattr(shield, kind)
    async def act(text: str) -> str:
        await asyncio.sleep(0)
        return f"<{text}>"

    return lambda text: asyncio.run(act(text))


def generator(shield: Shield, kind: str) -> Callable[[str], Any]:
    @getattr(shield, kind)
    def act(text: str) -> Iterator[str]:
        yield "<"
        yield from text
        yield ">"

    assert inspect.isgeneratorfunction(act)
    return lambda text: "".join(act(text))
