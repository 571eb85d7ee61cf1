"""What a model is told in the place of a tool that was not run, or of a result that it is not to read."""

from __future__ import annotations

from highflame_middleware import BlockedError, HighflameError
from highflame_middleware.types import Stage

from .errors import words_of

__all__ = ["notice_for"]


def notice_for(tool: str, error: HighflameError) -> str:
    """Why there is no result, in words for the model; nothing of what was denied.

    >>> from highflame_middleware.types import Decision, GuardResponse
    >>> no = BlockedError(GuardResponse(decision=Decision.DENY, policy_reason="not that account"), Stage.TOOL_CALL)
    >>> notice_for("pay", no)
    'Error: the guard did not allow this call of pay (deny: not that account). Do not try it again.'
    """
    said = words_of(error)
    if isinstance(error, BlockedError) and error.stage is Stage.TOOL_RESULT:
        return f"Error: the guard withheld what {tool} gave back ({said}). Do not try it again."
    return f"Error: the guard did not allow this call of {tool} ({said}). Do not try it again."
