"""Tools that agents use: which are being run, and what a model is told in the place of what it is not to have."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from crewai.utilities.string_utils import sanitize_tool_name

from highflame_middleware import BlockedError, HighflameError
from highflame_middleware.types import Stage

from .errors import words_of

__all__ = ["Use", "began", "ended", "notice_for", "notice_inside", "tool_user", "use_of"]

# Whose tool was used last in this context: the events do not say.
tool_user: ContextVar[Any] = ContextVar("highflame_crewai_tool_user", default=None)


class Use:
    """An agent's use of a tool.

    ``cleared`` is what its arguments were when they were judged, ``taken`` that it runs, ``error`` what stopped a
    run that the tool itself had begun.
    """

    __slots__ = ("cleared", "error", "given", "name", "taken")

    def __init__(self, given: Any, name: str) -> None:
        self.given, self.name = given, name
        self.cleared: str | None = None
        self.taken = False
        self.error: HighflameError | None = None


_uses: ContextVar[tuple[Use, ...]] = ContextVar("highflame_crewai_uses", default=())


def began(given: Any, name: str, agent: Any) -> Use:
    """An agent is about to run a tool with these arguments; the same use when it is said again."""
    tool_user.set(agent)
    uses = _uses.get()
    if uses and uses[-1].given is given and not uses[-1].taken:
        return uses[-1]
    use = Use(given, sanitize_tool_name(name))
    _uses.set((*uses, use))
    return use


def ended(given: Any, agent: Any) -> Use | None:
    """It has run, or was not to. Whatever was begun inside it and not ended is over, too."""
    tool_user.set(agent)
    uses = _uses.get()
    at = next((index for index in reversed(range(len(uses))) if uses[index].given is given), None)
    if at is None:
        return None
    _uses.set(uses[:at])
    return uses[at]


def use_of(tool: Any) -> Use | None:
    """The use that a tool is being run for, the first time it is asked; None where no agent has begun one."""
    uses = _uses.get()
    name = getattr(tool, "name", None)
    if not uses or uses[-1].taken or not isinstance(name, str) or uses[-1].name != sanitize_tool_name(name):
        return None
    uses[-1].taken = True
    return uses[-1]


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


def notice_inside(tool: str, error: HighflameError) -> str:
    """Why a tool has not come to an end that itself asks models or tools."""
    return f"Error: the guard stopped what {tool} had begun ({words_of(error)}). Do not try it again."
