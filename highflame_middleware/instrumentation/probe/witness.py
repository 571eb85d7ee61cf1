"""Who a probe is made for: a guard that notes what it is asked, and of which an edit must come through."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from ...types import Decision, GuardRequest, GuardResponse, Stage

__all__ = ["Cases", "UntriedError", "Witness"]


class UntriedError(Exception):
    """This version of an SDK cannot be called without sending: there is nothing to be proven by."""


@dataclass(slots=True)
class Witness:
    """A guard that notes what it is asked, and redacts every reply, so that its edit must come through."""

    stages: list[Stage | None] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)
    name: str = "witness"
    local: bool = True

    def evaluate(self, request: GuardRequest) -> GuardResponse:
        """Let prompts pass, and put another text in the place of every reply's."""
        self.stages.append(request.stage)
        if request.stage is Stage.RESPONSE:
            return GuardResponse(decision=Decision.MODIFY, redacted_content="guarded")
        return GuardResponse(decision=Decision.ALLOW)

    def missing(self, text: str) -> str:
        """What a call that gave ``text`` to its caller has not shown."""
        faults = {
            "the prompt was not guarded": Stage.PROMPT not in self.stages,
            "the reply was not guarded": text != "guarded",
            "the request was not addressed to the gateway": self.hosts != ["gateway.invalid"],
        }
        return "; ".join(fault for fault, found in faults.items() if found)


# The ways of calling an SDK: each makes a call and gives the text that its caller got.
Cases: TypeAlias = Mapping[str, Callable[[Witness], str]]
