"""Approvals of tool calls: asked for by an interrupt, good for the arguments that were shown, and nothing else.

The payload has the shape that `HumanInTheLoopMiddleware` has made known, with one
word more: each action has the ``digest`` of its name and arguments, and an approval
has to bring it back. So what was approved is what is run, whatever has been done to
the thread in between.
"""

from __future__ import annotations

import hmac
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from langgraph.types import interrupt

from highflame_middleware import ConfigError
from highflame_middleware.checkpoint import Flow, Invoke, StepUp

__all__ = ["Approver", "Said", "approve", "approver_of", "asked", "awaitable", "reject"]

KIND = "highflame.step_up"
# `interrupt`, `deny`, or a function that is given a StepUp and says whether it is approved.
Approver: TypeAlias = str | Callable[[StepUp], Any]


@dataclass(frozen=True, slots=True)
class Said:
    """What somebody said to a call; ``message`` is theirs."""

    approved: bool
    message: str | None = None


def approve(request: Any, *, only: Sequence[str] | None = None) -> dict[str, Any]:
    """The answer that approves a request, for ``Command(resume=…)``; ``only`` names digests, the rest is rejected.

    ``request`` is the interrupt, or its value.

    >>> request = {"type": "highflame.step_up", "action_requests": [{"name": "pay", "args": {}, "digest": "ab"}]}
    >>> approve(request)
    {'decisions': [{'type': 'approve', 'digest': 'ab'}]}
    """
    digests = [action["digest"] for action in _value(request)["action_requests"]]
    return {
        "decisions": [
            {"type": "approve" if only is None or digest in only else "reject", "digest": digest}
            for digest in digests
        ]
    }


def reject(request: Any, message: str | None = None) -> dict[str, Any]:
    """The answer that rejects a request, with a message to the model."""
    said = {"message": message} if message else {}
    return {
        "decisions": [
            {"type": "reject", "digest": action["digest"], **said} for action in _value(request)["action_requests"]
        ]
    }


def approver_of(given: Any) -> Approver:
    """The setting ``step_up``, validated."""
    if given in ("interrupt", "deny") or callable(given):
        return given  # type: ignore[no-any-return]
    raise ConfigError(f"step_up={given!r} is unknown: use 'interrupt', 'deny', or a function that takes a StepUp")


def asked(approver: Approver, steps: Sequence[StepUp], config: Mapping[str, Any]) -> Flow[list[Said]]:
    """Ask about some calls at once. What cannot be asked is not approved."""
    if callable(approver):
        said = []
        for step in steps:
            answer = yield from Invoke(partial(approver, step))
            if inspect.iscoroutine(answer):
                answer.close()
                raise ConfigError(
                    "step_up is an asynchronous function: such an agent can only be run asynchronously"
                )
            said.append(Said(answer is True))
        return said
    if approver == "deny" or not _resumable(config):
        return [Said(False) for _ in steps]
    return _read(steps, interrupt(_payload(steps)))


def awaitable(flow: Flow[Any]) -> Flow[Any]:
    """A flow for an asynchronous driver, which awaits what every op gives: functions may be of either colour."""
    try:
        op = next(flow)
        while True:
            try:
                if isinstance(op, Invoke):
                    answer = yield from Invoke(partial(_later, op.invoke))
                else:
                    answer = yield from op
            except BaseException as error:  # noqa: BLE001 - thrown into the flow, which decides
                op = flow.throw(error)
            else:
                op = flow.send(answer)
    except StopIteration as stop:
        return stop.value


async def _later(invoke: Callable[[], Any]) -> Any:
    answer = invoke()
    return await answer if inspect.isawaitable(answer) else answer


def _resumable(config: Mapping[str, Any]) -> bool:
    """Whether a run can go on after an interrupt: without a checkpointer it would only end."""
    return bool((config.get("configurable") or {}).get("__pregel_checkpointer"))


def _payload(steps: Sequence[StepUp]) -> dict[str, Any]:
    return {
        "type": KIND,
        "action_requests": [
            {
                "name": step.tool,
                "args": step.arguments,
                "description": step.reason or "This call needs an approval.",
                "digest": step.digest,
                "request_id": step.request_id,
            }
            for step in steps
        ],
        "review_configs": [
            {"action_name": step.tool, "allowed_decisions": ["approve", "reject"]} for step in steps
        ],
    }


def _read(steps: Sequence[StepUp], answer: Any) -> list[Said]:
    """What an answer says to each call: approved is only what it approves by the digest of this very call."""
    decisions = answer.get("decisions") if isinstance(answer, Mapping) else None
    if isinstance(answer, Mapping) and decisions is None:
        decisions = [answer]
    found = [one for one in decisions if isinstance(one, Mapping)] if isinstance(decisions, list) else []
    out: list[Said] = []
    for step in steps:
        own = [
            one for one in found if hmac.compare_digest(str(one.get("digest", "")).encode(), step.digest.encode())
        ]
        message = next((one["message"] for one in own if isinstance(one.get("message"), str)), None)
        out.append(Said(bool(own) and all(one.get("type") == "approve" for one in own), message))
    return out


def _value(request: Any) -> Any:
    return getattr(request, "value", request)
