"""The vocabulary of every door, engine and codec: frozen values with the wire names of Highflame Shield.

Texts that a guard has not cleared are never part of a ``repr``, a pickle or an
error: a field that may hold one is declared with ``repr=False``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any

__all__ = [
    "Decision",
    "GuardRequest",
    "GuardResponse",
    "Mode",
    "ModelContext",
    "RedactionEntry",
    "Secret",
    "Signal",
    "Stage",
    "ToolContext",
]


class Decision(StrEnum):
    """What a guard says of one text. An unknown decision is read as deny."""

    ALLOW = "allow"
    DENY = "deny"
    MODIFY = "modify"
    STEP_UP = "step_up"
    DEFER = "defer"

    @classmethod
    def _missing_(cls, value: object) -> Decision:  # noqa: ARG003 - the enum protocol
        return cls.DENY


class Mode(StrEnum):
    """What is done with a decision: enforce it, only report it, report it as an alert, or only redact."""

    ENFORCE = "enforce"
    MONITOR = "monitor"
    ALERT = "alert"
    MODIFY = "modify"

    @property
    def blocks(self) -> bool:
        """Whether a deny stops the call."""
        return self is Mode.ENFORCE

    @property
    def edits(self) -> bool:
        """Whether a modify changes the text."""
        return self in (Mode.ENFORCE, Mode.MODIFY)


class Stage(StrEnum):
    """Where a text stands in a call."""

    PROMPT = "prompt"
    RESPONSE = "response"
    TOOL_CALL = "tool_call"
    TOOL_RESULT = "tool_result"

    @property
    def label(self) -> str:
        """The stage in words."""
        return self.value.replace("_", " ")


_WIRE_NAMES: Mapping[Stage, tuple[str, str]] = MappingProxyType(
    {
        Stage.PROMPT: ("prompt", "process_prompt"),
        Stage.RESPONSE: ("response", "process_response"),
        Stage.TOOL_CALL: ("tool_call", "call_tool"),
        # Shield has no content type of its own for results; to the model they are input.
        Stage.TOOL_RESULT: ("response", "process_prompt"),
    }
)


class Secret:
    """A credential that shows itself to nobody but `reveal`.

    >>> Secret("zid_sk_1"), str(Secret("zid_sk_1"))
    (Secret(***), '***')
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The credential itself; for a header that is about to be sent, and nowhere else."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    def __str__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a Secret cannot be pickled or copied out of its process")


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolContext:
    """The tool that a tool call or tool result belongs to. Arguments are not cleared text."""

    name: str
    is_builtin: bool = False
    arguments: Mapping[str, Any] = field(default_factory=dict, repr=False)
    description: str | None = field(default=None, repr=False)
    server_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelContext:
    """The model that a text goes to or comes from."""

    provider: str | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardRequest:
    """One text, and where it stands: what a guard is asked about.

    ``content`` is at most what one message, reply, argument string or result
    holds. ``stage`` follows from ``content_type`` when it is not given.

    >>> GuardRequest(content="hello").stage
    <Stage.PROMPT: 'prompt'>
    """

    content: str = field(repr=False)
    content_type: str = "prompt"
    action: str = "process_prompt"
    stage: Stage | None = None
    role: str | None = None
    mode: Mode = Mode.ENFORCE
    session_id: str | None = None
    tool: ToolContext | None = None
    model: ModelContext | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.stage is None:
            known = {"response": Stage.RESPONSE, "tool_call": Stage.TOOL_CALL}
            object.__setattr__(self, "stage", known.get(self.content_type, Stage.PROMPT))

    @classmethod
    def at(cls, stage: Stage, content: str, **fields: Any) -> GuardRequest:
        """The request for a text at a stage, with Shield's content type and action for it."""
        content_type, action = _WIRE_NAMES[stage]
        return cls(content=content, content_type=content_type, action=action, stage=stage, **fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One thing that a detector saw; never the text it saw it in. ``score`` runs from 0 to 100."""

    name: str
    category: str = ""
    score: int = 0
    severity: str = "low"
    context_key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RedactionEntry:
    """Replace ``content[start_pos:end_pos]``, in characters, by ``replacement``.

    ``original`` is there for guards that report it; it stays out of reprs and pickles.
    """

    type: str
    start_pos: int
    end_pos: int
    replacement: str
    original: str = field(default="", repr=False, compare=False)

    def __post_init__(self) -> None:
        _check(self, "start_pos", int)
        _check(self, "end_pos", int)
        _check(self, "replacement", str)

    def __reduce__(self) -> tuple[Any, ...]:
        return _redaction_entry, (self.type, self.start_pos, self.end_pos, self.replacement)


def _check(value: object, name: str, *types: type) -> None:
    """Refuse a field of another type where a guard makes its answer, so that it counts as the guard's fault."""
    found = getattr(value, name)
    if not isinstance(found, types):
        wanted = " or ".join("None" if kind is type(None) else kind.__name__ for kind in types)
        raise TypeError(f"{type(value).__name__}.{name} is {type(found).__name__}: it must be {wanted}")


def _redaction_entry(type_: str, start: int, end: int, replacement: str) -> RedactionEntry:
    return RedactionEntry(type=type_, start_pos=start, end_pos=end, replacement=replacement)


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardResponse:
    """A guard's verdict on one `GuardRequest`.

    A *modify* carries the new text in ``redacted_content``, or the places to
    change in ``redaction_entries``; with neither it cannot be applied.

    >>> GuardResponse(decision=Decision("maybe")).decision
    <Decision.DENY: 'deny'>
    """

    decision: Decision
    policy_reason: str | None = None
    signals: tuple[Signal, ...] = ()
    redacted_content: str | None = field(default=None, repr=False)
    redaction_entries: tuple[RedactionEntry, ...] = ()
    request_id: str = ""
    latency_ms: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "decision", Decision(self.decision))
        object.__setattr__(self, "signals", tuple(self.signals))
        object.__setattr__(self, "redaction_entries", tuple(self.redaction_entries))
        _check(self, "policy_reason", str, type(None))
        _check(self, "redacted_content", str, type(None))
        for name, kind in (("signals", Signal), ("redaction_entries", RedactionEntry)):
            if not all(isinstance(item, kind) for item in getattr(self, name)):
                raise TypeError(f"GuardResponse.{name} must hold nothing but {kind.__name__}")

    @property
    def allowed(self) -> bool:
        """Whether the text may go on, changed or not."""
        return self.decision in (Decision.ALLOW, Decision.MODIFY)

    def without_content(self) -> GuardResponse:
        """The verdict for a log or an error: the same, without any text it carries."""
        entries = tuple(replace(entry, original="") for entry in self.redaction_entries)
        return replace(self, redacted_content=None, redaction_entries=entries)
