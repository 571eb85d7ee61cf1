"""From a guard's answer to what is done about a text: modes, failure policy, and which of several rulings counts.

The whole policy, in one table. A text *stops* the call, is *edited*, or *passes*:

    ===================  =================  =================  =============  =======
    the guard says       enforce            modify             monitor        alert
    ===================  =================  =================  =============  =======
    allow                pass               pass               pass           pass
    modify               edit, else stop    edit, else pass    pass           pass
    deny, step_up,
    defer, unknown       stop               edit, else pass    pass           pass
    nothing usable       stop unless        pass               pass           pass
                         fail_open (*)
    ===================  =================  =================  =============  =======

Whatever the row, a `DecisionEvent` is left. (*) An outage passes; a guard that does not take its key, or the
question, would let everything pass for ever, so that stops (`GuardError.forgivable`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any, TypeAlias

from ..errors import BlockedError, GuardError, HighflameError
from ..types import Decision, GuardResponse, Mode, Stage
from .redaction import apply_modify

__all__ = ["Answer", "DecisionEvent", "Ruling", "rule", "worst", "worst_severity"]

Answer: TypeAlias = GuardResponse | GuardError


@dataclass(frozen=True, slots=True)
class Ruling:
    """What is done about one text: stop with ``error``, or go on with ``text`` where it is not None."""

    error: HighflameError | None = None
    text: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionEvent:
    """The record of one evaluation, fit for a log: a hash stands for the text.

    ``decision`` is the guard's, or ``error`` where it gave none; ``enforced``
    says whether the text was stopped or changed because of it. The text itself
    is kept until the hash is asked for, but goes into no repr and no pickle.
    ``policies`` are the ids of the rules that it rests on, ``severity`` is its worst signal's.
    """

    guard: str
    stage: Stage
    mode: Mode
    decision: str
    enforced: bool
    reason: str | None = None
    signals: tuple[str, ...] = ()
    request_id: str = ""
    latency_ms: float = 0.0
    tool: str | None = None
    session: str | None = None
    user: str | None = None
    policies: tuple[str, ...] = ()
    severity: str = ""
    content: str = field(default="", repr=False)
    digest: str = field(default="", repr=False, compare=False)

    @property
    def content_hash(self) -> str:
        """SHA-256 of the text; computed when asked for."""
        return self.digest or hashlib.sha256(self.content.encode("utf-8", "surrogatepass")).hexdigest()

    def __reduce__(self) -> tuple[Any, ...]:
        # A logging handler may send the event to another process: the hash goes, the text stays.
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return _decision_event, ({**values, "content": "", "digest": self.content_hash},)

    @property
    def notable(self) -> bool:
        """Whether anything but a plain allow happened."""
        return self.decision != Decision.ALLOW or self.enforced


def _decision_event(values: dict[str, Any]) -> DecisionEvent:
    return DecisionEvent(**values)


PASS = Ruling()


def rule(
    content: str, answer: Answer, *, stage: Stage, mode: Mode, fail_open: bool, is_json: bool = False
) -> Ruling:
    """What is done about one text, by the table above.

    >>> no = GuardResponse(decision=Decision.DENY)
    >>> rule("x", no, stage=Stage.PROMPT, mode=Mode.MONITOR, fail_open=False)
    Ruling(error=None)
    >>> rule("x", no, stage=Stage.PROMPT, mode=Mode.ENFORCE, fail_open=False).error
    BlockedError(...)
    """
    if isinstance(answer, GuardError):
        return Ruling(error=answer) if mode.blocks and not (fail_open and answer.forgivable) else PASS
    if answer.decision is Decision.ALLOW:
        return PASS
    if answer.decision is Decision.MODIFY or mode is Mode.MODIFY:
        changed = apply_modify(content, answer, is_json=is_json)
        if changed is not None:
            return Ruling(text=changed) if mode.edits and changed != content else PASS
    return Ruling(error=BlockedError(answer.without_content(), stage)) if mode.blocks else PASS


_SEVERITIES = ("low", "medium", "high", "critical")


def worst_severity(severities: Iterable[str]) -> str:
    """The gravest of them; nothing where there is none, or none that is known.

    >>> worst_severity(["low", "critical", "medium"]), worst_severity([])
    ('critical', '')
    """
    found = max((_SEVERITIES.index(item) for item in severities if item in _SEVERITIES), default=-1)
    return _SEVERITIES[found] if found >= 0 else ""


_WEIGHT = {Decision.DENY: 0, Decision.MODIFY: 0, Decision.STEP_UP: 2, Decision.DEFER: 3}


def worst(errors: Iterable[HighflameError]) -> HighflameError | None:
    """The error that counts where several texts are stopped: a deny before an outage before a request to wait."""
    weigh = lambda error: _WEIGHT.get(error.decision, 0) if isinstance(error, BlockedError) else 1  # noqa: E731
    return min(errors, key=weigh, default=None)
