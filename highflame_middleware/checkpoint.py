"""Where an adapter has texts judged: by the policy of every other door, on the same record, in either colour.

An adapter for a framework has no call to guard but texts: messages, arguments of
tools, results, the pieces of a reply. `Checkpoint.judge` rules on such texts,
`Checkpoint.growing` on one that is still being written.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from threading import Lock
from time import monotonic
from typing import Any, TypeVar

from .caller import CallContext, current_context
from .codecs.parts import Text
from .config import Settings
from .contexts import ModelContext
from .decorators.guarding import Guarding, Kind
from .decorators.streams import Yielded
from .decorators.values import rendered, restored
from .drivers import aperform, perform
from .errors import BlockedError
from .exchange import COVERED, Call, Exchange, Invoke, Policy, judge
from .flow import Flow, arun, run
from .guard.verdict import Answer, DecisionEvent, Ruling, worst
from .pipeline import audited
from .policy import policy_of
from .telemetry import Recorder, SilentRecorder
from .types import Decision, GuardRequest, GuardResponse, Stage

__all__ = [
    "Checkpoint",
    "DecisionEvent",
    "Flow",
    "Growing",
    "Invoke",
    "Ruling",
    "StepUp",
    "Text",
    "digest_of",
    "rendered",
    "restored",
    "text_at",
    "worst",
]

T = TypeVar("T")

# For how many texts, and for how long, it is remembered that they passed.
_REMEMBERED = 10_000
_SECONDS = 900.0
# What passed for want of a verdict is only not asked about again by the next hook of the same step.
_UNANSWERED = 15.0
_ROLES: Mapping[Stage, str] = {Stage.PROMPT: "user", Stage.TOOL_RESULT: "tool"}


def text_at(
    stage: Stage, value: str, *, role: str | None = None, tool: str | None = None, is_json: bool = False
) -> Text:
    """A text to be judged. ``is_json`` marks arguments of a tool, which must still be JSON after an edit.

    >>> text_at(Stage.TOOL_CALL, '{"to": "ada"}', tool="mail", is_json=True).role
    'assistant'
    """
    return Text((), value, stage, role=role or _ROLES.get(stage, "assistant"), tool=tool, is_json=is_json)


def digest_of(tool: str, arguments: Any) -> str:
    """What an approval of a tool call is bound to: SHA-256 of its name and arguments, however these are ordered.

    >>> digest_of("pay", {"to": "ada", "sum": 1}) == digest_of("pay", {"sum": 1, "to": "ada"})
    True
    >>> digest_of("pay", {"to": "ada", "sum": 1}) == digest_of("pay", {"to": "ada", "sum": 2})
    False
    """
    written = json.dumps([tool, rendered(arguments)], ensure_ascii=False)
    return hashlib.sha256(written.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class StepUp:
    """A tool call that waits for somebody's approval, which is good for these very arguments (`digest_of`)."""

    tool: str
    arguments: Any = field(repr=False)
    digest: str
    reason: str | None = None
    request_id: str = ""

    @classmethod
    def of(cls, ruling: Ruling, tool: str, arguments: Any) -> StepUp | None:
        """The approval that a ruling on a tool call asks for, if it asks for one."""
        error = ruling.error
        if not isinstance(error, BlockedError) or error.decision is not Decision.STEP_UP:
            return None
        return cls(
            tool=tool,
            arguments=arguments,
            digest=digest_of(tool, arguments),
            reason=error.response.policy_reason,
            request_id=error.response.request_id,
        )


class Checkpoint:
    """Rules on the texts of a framework's run.

    Parameters
    ----------
    settings
        As for every door; omitted, ``options`` (the same settings as keywords), environment, file and defaults.

    quiet
        Leave no record: for texts that are nobody's, judged to see whether a denial is enforced.

    Who a text is judged for is what `context` says, or the ``caller`` that is
    given. Threads, tasks and tenants may share one: all that it remembers is
    which texts of whom have passed, by their digests, for a quarter of an hour.

    >>> checkpoint = Checkpoint(guard="embedded", gateway=None)
    >>> (ruling,) = checkpoint.judge([text_at(Stage.PROMPT, "Charge 4111 1111 1111 1111")])
    >>> ruling.text
    'Charge [REDACTED:credit_card]'
    """

    def __init__(
        self, settings: Settings | None = None, *, name: str = "adapter", quiet: bool = False, **options: Any
    ) -> None:
        if settings is not None:
            settings = settings.with_changes(**options)
        else:
            settings = Settings.load(**options)
        self.settings = settings
        self.policy: Policy = policy_of(settings)
        self.name = name
        self._quiet = quiet
        self._passed = _Passed()

    def judge(self, texts: Sequence[Text], **about: Any) -> list[Ruling]:
        """Rule on some texts, in their order: each may stop (``error``), become another (``text``), or pass.

        ``about`` says more of them: ``caller`` (a `CallContext`), ``model`` (a `ModelContext`), ``sent`` (a model
        is to read them), ``descriptions`` (of tools, by name), ``call_id`` (the same for all texts of one call),
        ``once`` (texts that have passed for this caller lately are not asked about again).
        Local guards are asked here, others side by side, each with the deadline of the settings.
        """
        return self.run(self.judging(texts, **about))

    async def ajudge(self, texts: Sequence[Text], **about: Any) -> list[Ruling]:
        """`judge` for asynchronous code."""
        return await self.arun(self.judging(texts, **about))

    def judging(
        self,
        texts: Sequence[Text],
        *,
        caller: CallContext | None = None,
        model: ModelContext | None = None,
        sent: bool = False,
        descriptions: Mapping[str, str] | None = None,
        call_id: str | None = None,
        once: bool = False,
    ) -> Flow[list[Ruling]]:
        """`judge` as a part of a flow, which `run` or `arun` drive; `Invoke` is the op that calls something."""
        caller = caller or current_context()
        keys = [_key_of(text, caller) for text in texts]
        asked = [not (once and self._passed.holds(key, sent=sent)) for key in keys]
        passage = _Passage(
            self.policy,
            name=self.name,
            caller=caller,
            model=model,
            descriptions=descriptions or {},
            call_id=call_id,
            passed=self._passed,
            sent=sent,
            recorder=SilentRecorder() if self._quiet else Recorder(None, caller),
        )
        found = yield from judge(passage, [text for text, new in zip(texts, asked, strict=True) if new], sent=sent)
        rulings = iter(found)
        return [next(rulings, Ruling()) if new else Ruling() for new in asked]

    def remember(self, text: Text, *, caller: CallContext | None = None) -> None:
        """Have a text count as one that has passed: somebody has approved it."""
        self._passed.add(_key_of(text, caller or current_context()), sent=False, both=True)

    def run(self, flow: Flow[T]) -> T:
        """Drive a flow from synchronous code."""
        return run(flow, perform)

    async def arun(self, flow: Flow[T]) -> T:
        """Drive a flow from asynchronous code."""
        return await arun(flow, aperform)

    def growing(
        self,
        stage: Stage,
        *,
        tool: str | None = None,
        caller: CallContext | None = None,
        model: ModelContext | None = None,
    ) -> Growing:
        """A text at a stage that comes in pieces."""
        caller = caller or current_context()
        kind = Kind(stage=stage, tool=tool, model=model)
        followed = _Followed(kind, self.policy, self.name, caller=caller)
        if self._quiet:
            followed.recorder = SilentRecorder()
        return Growing(followed, self._passed)

    @contextmanager
    def covering(self) -> Iterator[None]:
        """Have SDK calls that are made inside not judged again by `instrument`, where its policy is this one."""
        token = COVERED.set(self.policy)
        try:
            yield
        finally:
            COVERED.reset(token)

    @property
    def quiet(self) -> bool:
        """Whether nothing is recorded."""
        return self._quiet

    def __repr__(self) -> str:
        guard = self.policy.guard
        return f"Checkpoint(guard={guard.name if guard is not None else None!r}, mode={self.policy.mode.value!r})"


class Growing:
    """A text on its way: what `feed` and `finish` give back may be shown, however the pieces were cut.

    A verdict that stops it is raised (`BlockedError`, `GuardError`); nothing of it may follow then.

    >>> text = Checkpoint(guard="embedded", gateway=None).growing(Stage.RESPONSE)
    >>> text.feed("Card 4111 1111 ") + text.feed("1111 1111, thanks.") + text.finish()
    'Card [REDACTED:credit_card], thanks.'
    """

    __slots__ = ("_guarding", "_passed", "_shown", "_text", "_written")

    def __init__(self, guarding: _Followed, passed: _Passed) -> None:
        self._guarding, self._passed = guarding, passed
        self._text = Yielded(guarding)
        self._written: list[str] = []
        self._shown: list[str] = []

    @property
    def edited(self) -> bool:
        """Whether what was shown is another text than what came; certain once it has ended."""
        return "".join(self._shown) != "".join(self._written)

    def feeding(self, piece: str) -> Flow[str]:
        """`feed` as a part of a flow."""
        self._written.append(piece)
        ready = "".join((yield from self._text.feed(piece)))
        self._shown.append(ready)
        return ready

    def ending(self) -> Flow[str]:
        """`finish` as a part of a flow."""
        ready = "".join((yield from self._text.finish()))
        self._shown.append(ready)
        if self._guarding.policy.guard is not None:
            key = _key_of(self._guarding.text("".join(self._shown)), self._guarding.call.caller)
            seconds = _SECONDS if self._guarding.answered else _UNANSWERED
            self._passed.add(key, sent=False, both=not self.edited, seconds=seconds)
        return ready

    def feed(self, piece: str) -> str:
        """Take the next piece."""
        return run(self.feeding(piece), perform)

    def finish(self) -> str:
        """The text has ended."""
        return run(self.ending(), perform)

    async def afeed(self, piece: str) -> str:
        """`feed` for asynchronous code."""
        return await arun(self.feeding(piece), aperform)

    async def afinish(self) -> str:
        """`finish` for asynchronous code."""
        return await arun(self.ending(), aperform)


class _Followed(Guarding):
    """One growing text; ``answered`` says that the guard has given verdicts on it, and nothing else."""

    __slots__ = ("_missing", "_verdicts")

    def __init__(self, *args: Any, **given: Any) -> None:
        super().__init__(*args, **given)
        self._missing = self._verdicts = 0

    @property
    def answered(self) -> bool:
        return self._verdicts > 0 and not self._missing

    def note(self, text: Text, answer: Answer, *, enforced: bool) -> None:
        super().note(text, answer, enforced=enforced)
        if isinstance(answer, GuardResponse):
            self._verdicts += 1
        else:
            self._missing += 1


class _Passage(Exchange):
    """The texts that are judged together."""

    __slots__ = ("_descriptions", "_given_id", "_model", "_passed", "_sent")

    def __init__(
        self,
        policy: Policy,
        *,
        name: str,
        caller: CallContext,
        model: ModelContext | None,
        descriptions: Mapping[str, str],
        call_id: str | None,
        passed: _Passed,
        sent: bool,
        recorder: Recorder,
    ) -> None:
        super().__init__(
            Call(provider=name, method="CALL", path=name, caller=caller),
            audited(policy, recorder, caller),
            recorder,
        )
        self._model, self._descriptions, self._given_id = model, descriptions, call_id
        self._passed, self._sent = passed, sent

    def question(self, text: Text, *, sent: bool = False) -> GuardRequest:
        """What the guard is asked about a text."""
        asked = super().question(text, sent=sent)
        tool = asked.tool
        if tool is not None and tool.name in self._descriptions:
            tool = replace(tool, description=self._descriptions[tool.name])
        return replace(asked, model=self._model, tool=tool, call_id=self._given_id or asked.call_id)

    def settle(self, text: Text, answer: Answer) -> Ruling:
        """Rule on an answer, and remember the text that passes by it."""
        ruling = super().settle(text, answer)
        if ruling.error is None:
            shown = text if ruling.text is None else text._replace(value=ruling.text)
            seconds = _SECONDS if isinstance(answer, GuardResponse) else _UNANSWERED
            key = _key_of(shown, self.call.caller)
            self._passed.add(key, sent=self._sent, both=ruling.text is None, seconds=seconds)
        return ruling


class _Passed:
    """Which texts have passed, by their digests. Bounded in number and time; no text is kept.

    A reply that passed as it was need not be judged again where it goes back to the model. One that was changed
    must be: what stands in it now may be meant for the caller alone (a vault's values).
    """

    def __init__(self) -> None:
        self._until: OrderedDict[tuple[bytes, bool], float] = OrderedDict()
        self._lock = Lock()

    def holds(self, key: bytes, *, sent: bool) -> bool:
        with self._lock:
            return self._until.get((key, sent), 0.0) > monotonic()

    def add(self, key: bytes, *, sent: bool, both: bool, seconds: float = _SECONDS) -> None:
        until = monotonic() + seconds
        with self._lock:
            for place in (True, False) if both else (sent,):
                self._until[key, place] = until
                self._until.move_to_end((key, place))
            while len(self._until) > _REMEMBERED:
                self._until.popitem(last=False)


def _key_of(text: Text, caller: CallContext) -> bytes:
    whose = (caller.user, caller.role, caller.session, caller.account, caller.application)
    written = json.dumps([text.stage, text.role, text.tool, text.value, whose], ensure_ascii=False)
    return hashlib.sha256(written.encode("utf-8", "surrogatepass")).digest()
