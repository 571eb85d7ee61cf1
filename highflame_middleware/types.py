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

from .contexts import FileContext, McpContext, ModelContext, ToolContext
from .evidence import (
    AgentIdentity,
    Challenge,
    DeterminingPolicy,
    Receipt,
    RedactionEntry,
    SessionDelta,
    Signal,
    check_field,
)

__all__ = [
    "AgentIdentity",
    "Challenge",
    "Decision",
    "DeterminingPolicy",
    "FileContext",
    "GuardRequest",
    "GuardResponse",
    "McpContext",
    "Mode",
    "ModelContext",
    "Receipt",
    "RedactionEntry",
    "Secret",
    "SessionDelta",
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
class GuardRequest:
    """One text, and where it stands: what a guard is asked about.

    ``content`` is at most what one message, reply, argument string or result
    holds. ``stage`` follows from ``content_type`` when it is not given.
    ``contexts`` are texts to judge it by (the prompt of a reply, what was
    retrieved), ``detectors`` the only ones to run, where there are any.
    ``to_model`` says that a model is to read the text, not that it wrote it just now:
    replies and tool calls stand in the history of the next call again. ``call_id``
    is the same for all texts of one call; neither leaves this process. ``extra``
    are fields of the wire that have no name here.

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
    file: FileContext | None = None
    mcp: McpContext | None = None
    contexts: tuple[str, ...] = field(default=(), repr=False)
    detectors: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict, repr=False)
    explain: bool = False
    debug: bool = False
    early_exit: bool | None = None
    optimize: bool = False
    dryrun: bool = False
    to_model: bool | None = None
    call_id: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.stage is None:
            known = {"response": Stage.RESPONSE, "tool_call": Stage.TOOL_CALL}
            object.__setattr__(self, "stage", known.get(self.content_type, Stage.PROMPT))
        if self.to_model is None:
            object.__setattr__(self, "to_model", self.stage in (Stage.PROMPT, Stage.TOOL_RESULT))

    @classmethod
    def at(cls, stage: Stage, content: str, **fields: Any) -> GuardRequest:
        """The request for a text at a stage, with Shield's content type and action for it."""
        content_type, action = _WIRE_NAMES[stage]
        return cls(content=content, content_type=content_type, action=action, stage=stage, **fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardResponse:
    """A guard's verdict on one `GuardRequest`.

    A *modify* carries the new text in ``redacted_content``, or the places to
    change in ``redaction_entries``; with neither it cannot be applied.
    ``actual_decision`` is what it would have been but for the guard's own mode
    (``effective_mode``, and why: ``mode_reason``). ``challenge`` says how a
    step_up is answered. ``context`` holds what the detectors made out, by
    Shield's keys, ``extra`` the fields of the wire that have no name here.

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
    actual_decision: Decision | None = None
    effective_mode: str | None = None
    mode_overridden: bool = False
    mode_reason: str | None = None
    alerted: bool = False
    determining_policies: tuple[DeterminingPolicy, ...] = ()
    session_delta: SessionDelta | None = None
    agent_identity: AgentIdentity | None = None
    receipt: Receipt | None = None
    challenge: Challenge | None = None
    eval_errors: str | None = None
    context: Mapping[str, Any] = field(default_factory=dict, repr=False)
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "decision", Decision(self.decision))
        if self.actual_decision is not None:
            object.__setattr__(self, "actual_decision", Decision(self.actual_decision))
        object.__setattr__(self, "signals", tuple(self.signals))
        object.__setattr__(self, "redaction_entries", tuple(self.redaction_entries))
        check_field(self, "policy_reason", str, type(None))
        check_field(self, "redacted_content", str, type(None))
        for name, kind in (("signals", Signal), ("redaction_entries", RedactionEntry)):
            if not all(isinstance(item, kind) for item in getattr(self, name)):
                raise TypeError(f"GuardResponse.{name} must hold nothing but {kind.__name__}")

    @property
    def allowed(self) -> bool:
        """Whether the text may go on, changed or not."""
        return self.decision in (Decision.ALLOW, Decision.MODIFY)

    @property
    def suspended(self) -> bool:
        """Whether it waits: for somebody to prove who they are (step_up), or for a later answer (defer)."""
        return self.decision in (Decision.STEP_UP, Decision.DEFER)

    @property
    def denied(self) -> bool:
        """Whether the answer is no."""
        return self.decision is Decision.DENY

    def without_content(self) -> GuardResponse:
        """The verdict for a log or an error: the same, without any text it carries."""
        entries = tuple(replace(entry, original="", replacement="") for entry in self.redaction_entries)
        return replace(self, redacted_content=None, redaction_entries=entries, context={}, extra={})
