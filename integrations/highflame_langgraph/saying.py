"""What stands in the place of something that was stopped: the model reads nothing of the text, and no rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage

from highflame_middleware import BlockedError, Decision, GuardResponse, HighflameError, Stage

from .blocked import GraphGuardError, bubbling
from .marks import MARK

__all__ = ["Refusal", "error_of", "mark_of_error", "placeholder", "refusal", "tool_refusal"]

# A text, or a function that makes one of the error.
Refusal: TypeAlias = str | Callable[[HighflameError], str]

REFUSED = "I can't help with that: it was stopped by a security policy."
UNCHECKED = "I can't answer that just now: it could not be checked."
REMOVED = "[removed by a security policy]"
_CALL = "This call was not made: a security policy does not allow it."
_CALL_UNCHECKED = "This call was not made: it could not be checked."
_REJECTED = "This call was not made: it was not approved."
_RESULT_UNCHECKED = (
    "The result was withheld: it could not be checked. The tool has run; do not run it again for this."
)
_RESULT = "The result was withheld by a security policy. The tool has run; do not run it again for this."


def refusal(error: HighflameError, given: Refusal | None, **fields: Any) -> AIMessage:
    """The reply that is given in the place of one that is not."""
    plain = REFUSED if isinstance(error, BlockedError) else UNCHECKED
    said = given(error) if callable(given) else given if given is not None else plain
    return AIMessage(content=said, response_metadata={MARK: mark_of_error(error)}, **fields)


def placeholder(message: BaseMessage, error: HighflameError, *, marked: bool = True) -> Any:
    """What is left of a message in the history, under its id; a marked one ends the run of its reader."""
    if isinstance(message, ToolMessage):
        call = {"id": message.tool_call_id, "name": message.name}
        return tool_refusal(call, error, made=True, id=message.id)
    update: dict[str, Any] = {
        "content": REMOVED,
        "additional_kwargs": {},
        "response_metadata": {MARK: mark_of_error(error)} if marked else {},
    }
    if isinstance(message, AIMessage):
        update |= {"tool_calls": [], "invalid_tool_calls": []}
    return message.model_copy(update=update)


def tool_refusal(
    call: Mapping[str, Any],
    error: HighflameError | None,
    *,
    said: str | None = None,
    made: bool = False,
    **fields: Any,
) -> ToolMessage:
    """The answer to a call that was not made, or (``made``) whose result is withheld, lest it be made again."""
    if said is None:
        checked = isinstance(error, BlockedError)
        if made:
            said = _RESULT if checked else _RESULT_UNCHECKED
        elif error is None:
            said = _REJECTED
        else:
            said = _CALL if checked else _CALL_UNCHECKED
    metadata = {MARK: mark_of_error(error) if error is not None else {"decision": Decision.STEP_UP.value}}
    return ToolMessage(
        content=said,
        tool_call_id=str(call["id"]),
        name=call.get("name"),
        status="error",
        response_metadata=metadata,
        **fields,
    )


def mark_of_error(error: HighflameError) -> dict[str, Any]:
    """An error as a value that can be kept in a checkpoint."""
    if not isinstance(error, BlockedError):
        return {"decision": "error", "reason": str(error)}
    return {
        "decision": error.decision.value,
        "stage": error.stage.value,
        "reason": error.response.policy_reason,
        "request_id": error.response.request_id,
    }


def error_of(mark: Mapping[str, Any]) -> HighflameError:
    """The error that a mark stands for. Whoever can write a history can write marks: none of them lets pass."""
    try:
        stage, decision = Stage(mark["stage"]), Decision(mark["decision"])
    except (KeyError, ValueError):
        return GraphGuardError(str(mark.get("reason") or "the guard gave no usable verdict"))
    verdict = GuardResponse(
        decision=decision,
        policy_reason=mark.get("reason"),
        request_id=mark.get("request_id") or "",
    )
    return bubbling(BlockedError(verdict, stage))
