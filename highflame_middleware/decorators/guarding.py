"""Having one text of a function judged, by the same policy and on the same record as every call's texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..caller import CallContext, current_context
from ..codecs.parts import Text
from ..errors import ConfigError, GuardError
from ..exchange import Call, Evaluate, Exchange, Policy
from ..flow import Flow
from ..guard.verdict import Answer, Ruling
from ..pipeline import audited
from ..telemetry import Recorder
from ..types import GuardRequest, GuardResponse, Mode, ModelContext, Stage
from .values import is_text, rendered, restored

__all__ = ["Guarding", "Kind"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What a decorator guards: at which stage, under which of Shield's names, and what it says beside the text."""

    stage: Stage
    content_type: str | None = None
    action: str | None = None
    tool: str | None = None
    mode: Mode | None = None
    session: str | Callable[[], str | None] | None = None
    model: ModelContext | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict, repr=False)
    optimize: bool = False


class Guarding(Exchange):
    """One call of a decorated function, as far as it is guarded."""

    __slots__ = ("_kind",)

    def __init__(self, kind: Kind, policy: Policy, name: str, *, caller: CallContext | None = None) -> None:
        caller = caller or current_context()
        session = kind.session() if callable(kind.session) else kind.session
        if session is not None:
            if not isinstance(session, str):
                raise ConfigError(f"session_id gave {type(session).__name__} for {name}: it must be a string")
            caller = replace(caller, session=session)
        if kind.metadata:
            caller = replace(caller, metadata={**caller.metadata, **kind.metadata})
        recorder = Recorder(None, caller)
        policy = replace(policy, mode=kind.mode) if kind.mode is not None else policy
        super().__init__(
            Call(provider="function", method="CALL", path=name, caller=caller),
            audited(policy, recorder, caller),
            recorder,
        )
        self._kind = kind

    def text(self, value: str, *, is_json: bool = False) -> Text:
        """A text of this call, to be judged."""
        kind = self._kind
        role = "user" if kind.stage is Stage.PROMPT else "tool" if kind.stage is Stage.TOOL_RESULT else "assistant"
        return Text((), value, kind.stage, role=role, tool=kind.tool, is_json=is_json)

    def question(self, text: Text, **given: Any) -> GuardRequest:
        """What the guard is asked."""
        kind, asked = self._kind, super().question(text, **given)
        return replace(
            asked,
            content_type=kind.content_type or asked.content_type,
            action=kind.action or asked.action,
            model=kind.model,
            optimize=kind.optimize,
        )

    def judged(self, value: Any) -> Flow[Any]:
        """The value that may go on: the same, or what the guard made of it. Raises where the guard says no."""
        if self.policy.guard is None or value is None or value == "":
            return value
        text = self.text(rendered(value), is_json=not is_text(value))
        (answer,) = yield from Evaluate(self.policy, [self.question(text)])
        ruling, changed = self._rule(value, text, answer)
        self.note(text, answer, enforced=ruling.error is not None or ruling.text is not None)
        if ruling.error is not None:
            raise ruling.error
        return changed

    def _rule(self, value: Any, text: Text, answer: Answer) -> tuple[Ruling, Any]:
        """What is done, and the value as it then is; an edit that no value can be made of counts as none."""
        ruling = self.rule(text, answer)
        if ruling.text is None:
            return ruling, value
        try:
            return ruling, restored(value, ruling.text)
        except ValueError:
            assert isinstance(answer, GuardResponse)
            unusable = replace(answer, redacted_content=None, redaction_entries=())
            return self.rule(text, unusable), value

    def unreadable(self, found: str) -> None:
        """Settle what is no text though it should be one; raises where the policy is to stop."""
        if self.policy.guard is None:
            return
        fault = GuardError(f"{self.call.path} was given {found}, which is no text: it could not be guarded")
        fault.forgivable = False
        if (ruling := self.settle(self.text(""), fault)).error is not None:
            raise ruling.error
