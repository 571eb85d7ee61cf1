"""Policies as Cedar keeps them: parsed once, held against the schema, proved to be reached, then only asked."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from threading import Thread
from typing import Any, TypeVar

from ..errors import ConfigError
from ..guard.rules import Fact, RuleOutcome, Subject
from ..types import Decision
from .combining import denied, enforced, outcome_of, waits_for
from .facts import told
from .reading import Policy, policy_of
from .schema import NAMESPACE, Action, Schema, cedar, guardrails, uid_of
from .statements import MAX_CHARS, MAX_POLICIES, statements_of

__all__ = ["Compiled", "Source", "compiled", "within"]

_T = TypeVar("_T")

_POSITION = re.compile(r"\bpolicy(\d+)\b")
_PRINCIPALS = ("User", "Agent")


@dataclass(frozen=True, slots=True)
class Source:
    """A text with policies, and what it is called in messages."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class _Answer:
    """What Cedar said: ``allowed`` is None where it could not say anything. ``probed``: a probe was among them."""

    allowed: bool | None
    matched: tuple[Policy, ...] = ()
    errors: tuple[str, ...] = ()
    probed: bool = False


class _Asked:
    """Policies that are asked together; Cedar knows each by its place among them."""

    __slots__ = ("_handle", "policies")

    def __init__(self, policies: Sequence[Policy]) -> None:
        self.policies = tuple(policies)
        text = "\n".join(policy.text for policy in policies)
        self._handle = cedar().PolicySet.from_str(text, release_gil=True)
        if len(self._handle) != len(policies):
            raise ConfigError(f"{len(policies)} policies became {len(self._handle)} when they were put together")

    def ask(self, request: dict[str, Any], entities: Any, schema: Schema, *, probe: str = "") -> _Answer:
        """Ask Cedar, with the request held against the schema. Its words are not passed on: they quote values."""
        handle = self._handle.with_added_str(probe) if probe else self._handle
        result = cedar().is_authorized(request, handle, entities, schema.handle)
        told_by = [self._at(text) for text in result.diagnostics.reasons]
        errors = tuple(dict.fromkeys(self._blame(text) for text in result.diagnostics.errors))
        if result.decision.name not in ("Allow", "Deny"):
            return _Answer(None, errors=errors or ("Cedar gave no decision",))
        matched = tuple(policy for policy in told_by if policy is not None)
        return _Answer(result.allowed, matched, errors, probed=len(matched) < len(told_by))

    def _at(self, text: str) -> Policy | None:
        """The policy that Cedar's name stands for; None for a probe, which comes after all of them."""
        found = _POSITION.search(text)
        return self.policies[int(found[1])] if found and int(found[1]) < len(self.policies) else None

    def _blame(self, text: str) -> str:
        policy = self._at(text)
        return f"{policy.id} cannot be evaluated" if policy else "Cedar does not take the request"


class Compiled:
    """A set of policies that has passed every check. It does not change, and any number of threads may ask it."""

    __slots__ = ("_all", "_permits", "_schema", "policies")

    def __init__(self, policies: Sequence[Policy], schema: Schema) -> None:
        self.policies = tuple(policies)
        self._schema = schema
        concerned = {action: [policy for policy in policies if action in policy.actions] for action in Action}
        self._all = {action: _Asked(found) for action, found in concerned.items()}
        self._permits = {
            action: _Asked([policy for policy in found if policy.effect == "permit"])
            for action, found in concerned.items()
        }

    def decide(self, facts: Mapping[str, Fact], *, action: Action, subject: Subject) -> RuleOutcome:
        """Ask about one text; whatever goes wrong is a deny that says so."""
        known = told(facts, action, subject, self._schema)
        if known.faults:
            return denied(f"the fact {known.faults[0]}", ignored=known.ignored)
        agent = str(known.context.get("agent_id") or "")
        request, entities = _request(action, subject, agent, known.context), _entities(subject, agent)
        answer = self._all[action].ask(request, entities, self._schema)
        matched = answer.matched
        if answer.allowed is False and not answer.errors and matched:
            decided = outcome_of(matched, (), known.context, known.ignored)
            if enforced(matched) and decided.decision is Decision.DENY:
                return decided
            # Nothing that matched denies: so it depends on whether anything permits.
            answer = self._permits[action].ask(request, entities, self._schema)
            matched += answer.matched
        if answer.errors or answer.allowed is None:
            return denied("; ".join(answer.errors), ignored=known.ignored)
        if not answer.allowed:
            watching = tuple(policy.shown for policy in matched if policy.mode != "enforce")
            return RuleOutcome(Decision.DENY, "No policy permits this", watching, ignored=known.ignored)
        waiting = waits_for(self._all[action].policies, "Agent" if agent else "User", known.context)
        return outcome_of(matched, waiting, known.context, known.ignored)

    def prove(self) -> None:
        """Show that each action can be asked about, and that a forbid about it is reached; else a `ConfigError`."""
        for action in Action:
            for principal in _PRINCIPALS:
                subject = Subject(agent_id="self-test" if principal == "Agent" else "")
                known = told({}, action, subject, self._schema)
                request = _request(action, subject, subject.agent_id, known.context)
                asked, entities = self._all[action], _entities(subject, subject.agent_id)
                if errors := asked.ask(request, entities, self._schema).errors:
                    raise ConfigError(f"the self-test of {action.value} failed: {'; '.join(errors)}")
                probe = (
                    f"forbid (principal is {NAMESPACE}::{principal}, "
                    f'action == {NAMESPACE}::Action::"{action.value}", resource);'
                )
                answer = asked.ask(request, entities, self._schema, probe=probe)
                if answer.allowed is not False or not answer.probed:
                    raise ConfigError(f"the self-test of {action.value} failed: a forbid about it was not reached")


def compiled(sources: Sequence[Source], *, redact: frozenset[str] = frozenset()) -> Compiled:
    """Parse, check and prove policies; what is wrong with them is a `ConfigError` with its file and line."""
    if (total := sum(len(source.text) for source in sources)) > MAX_CHARS:
        raise ConfigError(f"the policies have {total} characters together: at most {MAX_CHARS} are read")
    statements = [statement for source in sources for statement in statements_of(source.text, source.name)]
    if not statements:
        raise ConfigError(f"there is no policy in {', '.join(source.name for source in sources)}")
    if len(statements) > MAX_POLICIES:
        raise ConfigError(f"there are {len(statements)} policies: at most {MAX_POLICIES} are read")
    policies = [policy_of(statement, redact=redact) for statement in statements]
    seen: dict[str, Policy] = {}
    for policy in policies:
        if (other := seen.setdefault(policy.id, policy)) is not policy:
            raise ConfigError(f"{policy.place}: the id {policy.id!r} is taken by {other.place}")
    schema = guardrails()
    _validate(policies, schema)
    made = Compiled(policies, schema)
    made.prove()
    return made


def _validate(policies: Sequence[Policy], schema: Schema) -> None:
    text = "\n".join(policy.text for policy in policies)
    result = cedar().validate_policies(text, schema.handle, release_gil=True)
    if result.validation_passed and not result.errors:
        return
    error = result.errors[0] if result.errors else None
    said = str(getattr(error, "error", error))
    found = _POSITION.search(said)
    place = f"{policies[int(found[1])].place}: " if found and int(found[1]) < len(policies) else ""
    raise ConfigError(f"{place}does not fit the schema: {_POSITION.sub('this', said)[:300]}")


def _uid(kind: str, id_: str) -> dict[str, str]:
    return {"type": f"{NAMESPACE}::{kind}", "id": id_}


def _request(action: Action, subject: Subject, agent: str, context: dict[str, Any]) -> dict[str, Any]:
    return {
        "principal": _uid("Agent", agent) if agent else _uid("User", subject.user_id or "anonymous"),
        "action": uid_of(action),
        "resource": _resource(action, subject, agent),
        "context": context,
    }


def _resource(action: Action, subject: Subject, agent: str) -> dict[str, str]:
    """The session; without one the agent, or the application where the action may be about one."""
    if subject.session_id:
        return _uid("Session", subject.session_id)
    if agent:
        return _uid("Agent", agent)
    if subject.app_id and action.is_talk:
        return _uid("App", subject.app_id)
    return _uid("Session", "none")


@lru_cache(maxsize=256)
def _entities(subject: Subject, agent: str) -> Any:
    """Who belongs to whom: a session to its agent and application, these to a project, that to an account."""
    project = [_uid("Project", subject.project_id)] if subject.project_id else []
    owners = [_uid(kind, id_) for kind, id_ in (("App", subject.app_id), ("Agent", agent)) if id_]
    known = [(_uid("Session", subject.session_id or "none"), owners), *((owner, project) for owner in owners)]
    if subject.project_id:
        known.append((project[0], [_uid("Account", subject.account_id)] if subject.account_id else []))
    entities = [{"uid": uid, "attrs": {}, "parents": parents} for uid, parents in known]
    return cedar().Entities.from_json_str(json.dumps(entities), guardrails().handle)


def within(seconds: float, make: Callable[[], _T]) -> _T:
    """Make something on a thread of its own, with all of its stack; what is late is a `ConfigError`."""
    made: list[_T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            made.append(make())
        except BaseException as error:  # noqa: BLE001 - raised again below
            failed.append(error)

    thread = Thread(target=run, name="highflame-policies", daemon=True)
    thread.start()
    thread.join(seconds)
    if made:
        return made[0]
    if failed and isinstance(failed[0], ConfigError):
        raise failed[0]
    why = f"they failed with {type(failed[0]).__name__}" if failed else f"they take longer than {seconds:g} seconds"
    raise ConfigError(f"the policies cannot be loaded: {why}")
