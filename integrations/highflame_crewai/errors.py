"""What stops a crew: this library's errors, which CrewAI takes for the abort that a hook has asked for.

CrewAI swallows whatever else a hook raises. ``except BlockedError`` and ``except GuardError`` catch these, wherever
they come out.
"""

from __future__ import annotations

from typing import Any

from crewai.hooks.dispatch import HookAborted
from crewai.utilities import agent_utils
from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from highflame_middleware import BlockedError, GuardError, GuardTimeoutError, HighflameError
from highflame_middleware.types import GuardResponse, Stage

__all__ = ["CrewBlockedError", "CrewGuardError", "CrewGuardTimeoutError", "abort_for", "unquoted", "words_of"]

SOURCE = "highflame"
# CrewAI reads errors by their words: one that sounds like these is answered by another attempt, not by stopping.
_MISREAD = tuple(
    reader
    for name in ("is_context_length_exceeded", "is_native_tool_calling_unsupported_error")
    if (reader := getattr(agent_utils, name, None)) is not None
)
_THROTTLED = ("rate limit", "rate-limit", "too many requests", "throttled", "resource exhausted")


class CrewBlockedError(BlockedError, HookAborted):
    """A guard's verdict stopped a crew, a flow, an agent or a model's call; ``reason`` says why."""

    def __init__(self, response: GuardResponse, stage: Stage) -> None:
        super().__init__(response, stage)
        self.reason = words_of(self)
        self.source = SOURCE
        self.args = (_harmless(str(self), f"Blocked at the {stage.label} stage ({response.decision.value})"),)


class CrewGuardError(GuardError, HookAborted):
    """There was no verdict, and the policy is to fail closed; its cause is attached."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.reason = message
        self.source = SOURCE
        self.args = (_harmless(message, "The guard gave no verdict"),)


class CrewGuardTimeoutError(CrewGuardError, GuardTimeoutError):
    """There was no verdict in time, and the policy is to fail closed."""


def abort_for(error: HighflameError) -> CrewBlockedError | CrewGuardError:
    """The same error as one that CrewAI respects.

    It is made anew each time: one object raised in several threads would mix their tracebacks.
    """
    if isinstance(error, BlockedError):
        return CrewBlockedError(error.response, error.stage)
    kind = CrewGuardTimeoutError if isinstance(error, GuardTimeoutError) else CrewGuardError
    abort = kind(str(error))
    abort.forgivable = getattr(error, "forgivable", False)
    # Not as a cause while CrewAI looks on: it reads those too.
    abort.__cause__ = error if not _sounds_throttled(error) else None
    return abort


def words_of(error: BaseException) -> str:
    """Why something was stopped, for a model or a person to read."""
    if isinstance(error, BlockedError):
        decision = error.decision.value
        return f"{decision}: {error.response.policy_reason}" if error.response.policy_reason else decision
    return "the guard gave no verdict"


def unquoted(error: Exception) -> Exception:
    """The same error, without the words of a reply that is not of the form asked for: nobody has judged those.

    CrewAI raises pydantic's error, or one that repeats what it says.
    """
    seen: BaseException | None = error
    for _ in range(8):
        if seen is None or isinstance(seen, ValidationError):
            break
        seen = seen.__cause__ or seen.__context__
    if not isinstance(seen, ValidationError):
        return error
    lines: list[Any] = []
    for line in seen.errors(include_url=False, include_context=False, include_input=False):
        # What a model's own validators say may quote what they were given.
        said = "not valid" if line["type"] in ("value_error", "assertion_error") else line["msg"]
        kind = PydanticCustomError(line["type"], said.replace("{", "(").replace("}", ")"))
        lines.append({"type": kind, "loc": line["loc"], "input": None})
    again = ValidationError.from_exception_data(seen.title, lines, hide_input=True)
    return again if seen is error else ValueError(str(error).replace(str(seen), str(again)))


def _harmless(message: str, instead: str) -> str:
    """The message, or another where CrewAI would take it for a fault that goes away."""
    misread = any(reader(Exception(message)) for reader in _MISREAD) or any(
        word in message.lower() for word in _THROTTLED
    )
    return instead if misread else message


def _sounds_throttled(error: Any) -> bool:
    return "ratelimit" in type(error).__name__.lower() or any(word in str(error).lower() for word in _THROTTLED)
