"""A guard of your own: a function, or an object that also knows which decision, and why."""

from __future__ import annotations

import openai

from highflame_middleware import BlockedError, Decision, GuardRequest, GuardResponse, Stage, instrument


class BusinessHours:
    """Lets tools that cost money run only when somebody is there to see it."""

    name = "business hours"

    def evaluate(self, request: GuardRequest) -> GuardResponse:
        """Judge one text: here, only what the model wants to pass to a tool."""
        if request.stage is Stage.TOOL_CALL and request.tool is not None and request.tool.name.startswith("pay_"):
            return GuardResponse(decision=Decision.DENY, policy_reason=f"{request.tool.name} is off at this hour")
        return GuardResponse(decision=Decision.ALLOW)


with instrument(guard=BusinessHours()), openai.OpenAI() as client:
    try:
        client.chat.completions.create(
            model="gpt-4o-mini", messages=[{"role": "user", "content": "Please pay the invoice."}]
        )
    except BlockedError as error:
        print(error)
