"""One logical call on its way: what it is, how it is guarded, what has been decided; and the ops it asks for.

`Call` and `Policy` are values. An `Exchange` is the little that changes while
a call runs, shared by the pipeline, the reply's screen and the door.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from weakref import ref

from .caller import CallContext
from .codecs.parts import Codec, Text
from .errors import HighflameError
from .flow import Flow, Op
from .guard.protocol import Binding
from .guard.verdict import Answer, DecisionEvent, Ruling, rule, worst_severity
from .telemetry import Recorder
from .types import GuardRequest, GuardResponse, Mode, ModelContext, Stage, ToolContext

__all__ = [
    "COVERED",
    "GUARDED",
    "Call",
    "Evaluate",
    "Exchange",
    "Invoke",
    "Leave",
    "Policy",
    "Race",
    "Raced",
    "judge",
]

_log = logging.getLogger("highflame_middleware.guard")

# Set on requests by the instrumentation, for a gateway in this process: guarding them twice would be waste.
# It is an extension of the request object, which never crosses a network.
GUARDED = "highflame.guarded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How calls are guarded. Without a guard everything passes unseen.

    ``races`` says that a call is made while its texts are still being judged.
    ``on_decision`` is told of every evaluation.
    """

    guard: Binding | None
    mode: Mode = Mode.ENFORCE
    fail_open: bool = False
    deadline: float = 2.0
    stream: str = "buffer"
    races: bool = False
    on_decision: Callable[[DecisionEvent], object] | None = None
    # What the guard was made of: two doors with the same settings have guards of their own.
    named: Any = field(default=None, repr=False)

    def covers(self, other: Policy) -> bool:
        """Whether what has been judged by this policy need not be judged by another."""
        if self.guard is None or self.named is None:
            return False
        told = self.on_decision is other.on_decision
        return told and (self.named, self.mode, self.fail_open) == (other.named, other.mode, other.fail_open)

    @property
    def strict(self) -> bool:
        """Whether what cannot be judged must not pass."""
        return self.guard is not None and self.mode.blocks and not self.fail_open

    @property
    def holds(self) -> bool:
        """Whether texts are held back until they are judged."""
        return self.guard is not None and self.mode.edits


# The policy by which an adapter judges the texts of the calls that are made in this context.
COVERED: ContextVar[Policy | None] = ContextVar("highflame_covered", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One logical call as it came to a door. ``codec`` is None for operations whose format is not known."""

    provider: str
    method: str
    path: str
    codec: Codec | None = None
    body: Any = field(default=None, repr=False)
    model: str | None = None
    stream: bool = False
    texts: tuple[Text, ...] = field(default=(), repr=False)
    caller: CallContext = field(default_factory=CallContext)


class Evaluate(Op[Sequence[Answer]]):
    """Ask the guard about some texts; an answer, or why there is none, for each."""

    __slots__ = ("policy", "requests")

    def __init__(self, policy: Policy, requests: Sequence[GuardRequest]) -> None:
        self.policy, self.requests = policy, requests


class Invoke(Op[Any]):
    """Make the call; an asynchronous driver awaits what ``invoke`` returns."""

    __slots__ = ("invoke",)

    def __init__(self, invoke: Callable[[], Any]) -> None:
        self.invoke = invoke


@dataclass(frozen=True, slots=True)
class Raced:
    """What came of a call made beside its guard: its reply or why there is none, and the guard's answers."""

    answers: Sequence[Answer]
    reply: Any = None
    error: Exception | None = None


class Race(Op[Raced]):
    """Ask the guard about some texts and make the call meanwhile; ``stops`` says that answers put an end to it."""

    __slots__ = ("invoke", "policy", "requests", "stops")

    def __init__(
        self,
        policy: Policy,
        requests: Sequence[GuardRequest],
        invoke: Callable[[], Any],
        stops: Callable[[Sequence[Answer]], bool],
    ) -> None:
        self.policy, self.requests, self.invoke, self.stops = policy, requests, invoke, stops


class Leave(Op[None]):
    """Close a reply's body that nobody is going to read, if there is one."""

    __slots__ = ("body",)

    def __init__(self, body: Any) -> None:
        self.body = body


class Exchange:
    """The state of one call.

    ``returned`` turns true when the caller has its reply object: from then on
    an error can be raised where the caller reads the reply. Before that, an
    SDK stands between, which would wrap or retry it: then it is kept in
    ``refused`` and raised from the logical call. ``reading`` is true while a
    reply's body is still to be read, which is ``body``, as long as somebody has it.
    """

    __slots__ = ("_body", "_id", "call", "policy", "reading", "recorder", "refused", "returned")

    def __init__(self, call: Call, policy: Policy, recorder: Recorder) -> None:
        self.call = call
        self.policy = policy
        self.recorder = recorder
        self.refused: HighflameError | None = None
        self.returned = False
        self.reading = False
        self._id = ""
        self._body: Callable[[], Any] = _nobody

    @property
    def body(self) -> Any:
        """The guarded body that is being read."""
        return self._body()

    @body.setter
    def body(self, body: Any) -> None:
        # Weakly: a body that is dropped has to be noticed at once.
        self._body = ref(body)

    def question(self, text: Text, *, sent: bool = False) -> GuardRequest:
        """What the guard is asked about a text; ``sent`` says that it is part of what the model is to read."""
        call = self.call
        self._id = self._id or os.urandom(12).hex()
        return GuardRequest.at(
            text.stage,
            text.value,
            role=text.role,
            mode=self.policy.mode,
            session_id=call.caller.session,
            tool=ToolContext(name=text.tool, arguments=_arguments(text)) if text.tool is not None else None,
            model=ModelContext(provider=call.provider, model=call.model),
            metadata=call.caller.metadata,
            to_model=sent,
            call_id=self._id,
        )

    def settle(self, text: Text, answer: Answer) -> Ruling:
        """Rule on a guard's answer about a text, and leave the record of it."""
        ruling = self.rule(text, answer)
        self.note(text, answer, enforced=ruling.error is not None or ruling.text is not None)
        return ruling

    def rule(self, text: Text, answer: Answer) -> Ruling:
        """What a guard's answer about a text means here."""
        policy = self.policy
        return rule(
            text.value,
            answer,
            stage=text.stage,
            mode=policy.mode,
            fail_open=policy.fail_open,
            is_json=text.is_json,
        )

    def note(self, text: Text, answer: Answer, *, enforced: bool) -> None:
        """Leave the record of one evaluation."""
        guard = self.policy.guard
        verdict = answer if isinstance(answer, GuardResponse) else None
        event = DecisionEvent(
            guard=guard.name if guard is not None else "none",
            stage=text.stage,
            mode=self.policy.mode,
            decision=verdict.decision.value if verdict is not None else "error",
            enforced=enforced,
            reason=verdict.policy_reason if verdict is not None else str(answer),
            signals=tuple(f"{signal.name}:{signal.score}" for signal in verdict.signals) if verdict else (),
            request_id=verdict.request_id if verdict is not None else "",
            latency_ms=verdict.latency_ms if verdict is not None else 0.0,
            tool=text.tool,
            session=self.call.caller.session,
            user=self.call.caller.user,
            policies=tuple(policy.rule_id for policy in verdict.determining_policies) if verdict else (),
            severity=worst_severity(signal.severity for signal in verdict.signals) if verdict else "",
            content=text.value,
        )
        self.recorder.decide(event)
        if self.policy.on_decision is not None:
            try:
                self.policy.on_decision(event)
            except Exception:  # noqa: BLE001 - whatever it is
                # Whoever only listens has no say in the call.
                _log.exception("on_decision raised; the decision stands")

    def close(self, error: BaseException | None = None) -> None:
        """The reply's body is read to its end, was left by the caller, or broke."""
        self.reading = False
        if error is not None and self.returned:
            self.recorder.fail(error)
        elif self.returned:
            self.recorder.end()


def judge(exchange: Exchange, texts: Sequence[Text], *, sent: bool = False) -> Flow[list[Ruling]]:
    """Have some texts judged, of what is sent or of what is received, and rule on each."""
    if exchange.policy.guard is None or not texts:
        return []
    answers = yield from Evaluate(exchange.policy, [exchange.question(text, sent=sent) for text in texts])
    return [exchange.settle(text, answer) for text, answer in zip(texts, answers, strict=True)]


def _nobody() -> None:
    """No body has been handed out."""


def _arguments(text: Text) -> dict[str, Any]:
    if not (text.is_json and text.stage is Stage.TOOL_CALL):
        return {}
    try:
        arguments = json.loads(text.value)
    except (ValueError, RecursionError):
        return {}
    return arguments if isinstance(arguments, dict) else {}
