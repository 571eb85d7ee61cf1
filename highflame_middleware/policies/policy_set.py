"""Policies in Cedar as rules: loaded once, checked before they count, exchanged when their files change."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from threading import Lock
from typing import TypeAlias

from ..errors import ConfigError
from ..guard.rules import NOBODY, Fact, RuleOutcome, Subject
from ..types import Decision, DeterminingPolicy
from .combining import denied
from .compiled import Compiled, Source, compiled, within
from .coverage import Coverage, coverage_of
from .schema import Action, guardrails
from .sources import DEFAULTS, PROFILES, snapshot_of, stamp_of, templates

__all__ = ["Coverage", "PolicySet", "PolicyStatus"]

_log = logging.getLogger("highflame_middleware.policies")
_Stamp: TypeAlias = tuple[tuple[str, int, int, int], ...]

_PATIENCE = 10.0  # seconds for parsing and checking; what is bounded in size takes one or two
_YOUNG = 2.0  # seconds in which a file may change again without its times telling


@dataclass(frozen=True, slots=True)
class PolicyStatus:
    """What is in force: how many policies, since when (seconds since 1970), and why newer files are not."""

    policies: int
    sources: tuple[str, ...]
    digest: str
    loaded_at: float
    error: str | None = None


class PolicySet:
    """Rules for a guard, written in Cedar against the schema of Highflame's guardrails product.

    Make one with `default` or `from_files`; both need the extra ``policy``. Every
    error of a policy, of the request or of Cedar itself denies, with a reason that says so.

    >>> rules = PolicySet.default(redact=["data-protection"])
    >>> outcome = rules.decide({"injection_score": 90}, action="process_prompt")
    >>> outcome.decision.value, outcome.policies[0].rule_id
    ('deny', 'security.block-injection-ml')
    >>> rules.decide({"secrets_detected": True}, action="process_prompt").decision.value
    'modify'
    """

    __slots__ = (
        "_compiled",
        "_due",
        "_every",
        "_fixed",
        "_lock",
        "_makes",
        "_paths",
        "_redact",
        "_seen",
        "_status",
    )

    def __init__(
        self,
        *,
        fixed: tuple[Source, ...],
        paths: tuple[Path, ...],
        redact: frozenset[str],
        makes: frozenset[str] | None,
        check_every: float,
    ) -> None:
        """For `default` and `from_files`."""
        if isinstance(check_every, bool) or not isinstance(check_every, int | float) or not check_every > 0:
            raise ConfigError(f"check_every={check_every!r} cannot be used: give seconds, more than 0")
        self._fixed, self._paths, self._redact, self._makes = fixed, paths, redact, makes
        self._every = float(check_every)
        self._lock = Lock()
        self._due = time.monotonic() + self._every
        self._seen = _settled(_stamp(paths))
        snapshot = snapshot_of(paths)
        sources = (*fixed, *snapshot.sources)
        self._compiled = within(_PATIENCE, lambda: compiled(sources, redact=redact))
        if unknown := sorted(
            redact - {name for policy in self._compiled.policies for name in (policy.id, policy.category)}
        ):
            raise ConfigError(f"redact holds {unknown[0]!r}: no policy has that id or category")
        self._status = self._state(sources, snapshot.digest)
        self._warn()

    @classmethod
    def default(
        cls,
        *,
        profiles: Iterable[str] = (),
        templates: Iterable[str] = (),
        without: Iterable[str] = (),
        redact: Iterable[str] = (),
        makes: Iterable[str] | None = None,
    ) -> PolicySet:
        """The templates that highflame-policy deploys by default, with whole profiles or single templates added.

        Parameters
        ----------
        profiles
            Names such as ``"code_agent"`` or ``"output_protection"``.
        templates
            Ids of further templates, such as ``"tools.mcp-server-allowlist"``.
        without
            Ids of templates that are left out.
        redact
            Ids or categories of policies (``"data-protection"``, ``"privacy"``) that ask
            for a redaction instead of a deny, as ``@redaction_strategy("redact")`` does.
        makes
            The facts that the detectors make; policies that read others are named once in the log.
        """
        wanted = [*DEFAULTS, *_profiled(profiles), *_strings("templates", templates)]
        left_out = frozenset(_strings("without", without))
        if unknown := sorted(left_out - set(wanted)):
            raise ConfigError(f"without holds {unknown[0]!r}, which would not be loaded")
        ids = [id_ for id_ in wanted if id_ not in left_out]
        made = cls(
            fixed=tuple(_templates(ids)),
            paths=(),
            redact=frozenset(_strings("redact", redact)),
            makes=None if makes is None else frozenset(makes),
            check_every=60.0,
        )
        if "security.injection" in ids:
            made._must_stop({"injection_score": 100}, Action.PROCESS_PROMPT)
        return made

    @classmethod
    def from_files(
        cls,
        *paths: str | PathLike[str],
        templates: Iterable[str] = (),
        redact: Iterable[str] = (),
        makes: Iterable[str] | None = None,
        check_every: float = 2.0,
    ) -> PolicySet:
        """Policies of your own: files, or directories with ``.cedar`` files, which are read anew when they change.

        A file that is broken when it is first read is a `ConfigError` with its place; one that is
        broken later leaves the policies in force as they are, is named once in the log, and in `status`.
        Cedar denies what nothing permits: give a permit, or ``templates=["organization.permit-baseline"]``.

        Parameters
        ----------
        templates, redact, makes
            As for `default`; no template is loaded that is not named.
        check_every
            Seconds after which files are looked at again, when something is next decided.
        """
        if not paths:
            raise ConfigError("from_files() needs a file, or a directory with .cedar files")
        return cls(
            fixed=tuple(_templates(_strings("templates", templates))),
            paths=tuple(Path(path) for path in paths),
            redact=frozenset(_strings("redact", redact)),
            makes=None if makes is None else frozenset(makes),
            check_every=check_every,
        )

    def decide(self, facts: Mapping[str, Fact], *, action: str, subject: Subject = NOBODY) -> RuleOutcome:
        """Decide about a text by its facts. Never raises: what goes wrong is a deny."""
        try:
            known = Action(action)
        except ValueError:
            return denied(f"no policy can be about the action {str(action)[:100]!r}")
        try:
            return self._current().decide(facts, action=known, subject=subject)
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as error:  # noqa: BLE001 - a panic in Cedar is no Exception
            # Not the error itself: it may quote what was told.
            return denied(f"{type(error).__name__} in the evaluation")

    def coverage(self) -> tuple[Coverage, ...]:
        """What each policy reads, and what of that is never told."""
        return coverage_of(self._compiled.policies, guardrails(), self._makes)

    @property
    def policies(self) -> tuple[DeterminingPolicy, ...]:
        """The policies in force, as a verdict shows them."""
        return tuple(policy.shown for policy in self._compiled.policies)

    @property
    def reads(self) -> frozenset[str]:
        """The facts that the policies in force read."""
        return frozenset[str]().union(*(policy.keys for policy in self._compiled.policies))

    @property
    def status(self) -> PolicyStatus:
        """What is in force."""
        return self._status

    def __repr__(self) -> str:
        return f"PolicySet({self._status.policies} policies of {len(self._status.sources)} sources)"

    def _current(self) -> Compiled:
        """The policies in force; whoever comes first when it is time looks at the files, the others go on."""
        if self._paths and time.monotonic() >= self._due and self._lock.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._due = time.monotonic() + self._every
                self._lock.release()
        return self._compiled

    def _look(self) -> None:
        stamp = _stamp(self._paths)
        if stamp is not None and stamp == self._seen:
            return
        try:
            snapshot = snapshot_of(self._paths)
            self._seen = _settled(stamp)
            if snapshot.digest == self._status.digest:
                self._settle(None)
                return
            sources = (*self._fixed, *snapshot.sources)
            made = within(_PATIENCE, lambda: compiled(sources, redact=self._redact))
        except (ConfigError, OSError) as error:
            self._settle(str(error) if isinstance(error, ConfigError) else type(error).__name__)
            return
        self._compiled = made
        self._status = self._state(sources, snapshot.digest)
        _log.info("%d policies loaded anew", len(made.policies))
        self._warn()

    def _settle(self, error: str | None) -> None:
        """The policies in force stay; why newer ones do not count is said once."""
        if error is not None and error != self._status.error:
            _log.warning("new policies are not in force, the ones before stay: %s", error)
        status = self._status
        self._status = PolicyStatus(status.policies, status.sources, status.digest, status.loaded_at, error)

    def _state(self, sources: Iterable[Source], digest: str) -> PolicyStatus:
        return PolicyStatus(
            len(self._compiled.policies), tuple(source.name for source in sources), digest, time.time()
        )

    def _must_stop(self, facts: Mapping[str, Fact], action: Action) -> None:
        outcome = self.decide(facts, action=action)
        if outcome.decision is not Decision.DENY or outcome.errors or not outcome.policies:
            raise ConfigError(f"the self-test failed: {dict(facts)} is not denied by a policy: {outcome.reason}")

    def _warn(self) -> None:
        if not any(policy.effect == "permit" for policy in self._compiled.policies):
            _log.warning("no policy permits anything, so everything is denied")
        lacking = [covered for covered in self.coverage() if covered.missing]
        if lacking:
            named = "; ".join(
                f"{covered.policy} ({', '.join(sorted(covered.missing))})" for covered in lacking[:50]
            )
            more = f"; and {len(lacking) - 50} more" if len(lacking) > 50 else ""
            _log.warning("%d policies read facts that nothing here makes: %s%s", len(lacking), named, more)


# The class methods have parameters of this name.
_templates = templates


def _profiled(profiles: Iterable[str]) -> list[str]:
    names = _strings("profiles", profiles)
    if unknown := [name for name in names if name not in PROFILES]:
        raise ConfigError(f"there is no profile {unknown[0]!r}; there are: {', '.join(sorted(PROFILES))}")
    return [id_ for name in names for id_ in PROFILES[name]]


def _strings(option: str, values: Iterable[str]) -> tuple[str, ...]:
    if isinstance(values, str | bytes):
        raise ConfigError(f"{option}={values!r} is one string: give a list of strings")
    strings = tuple(values)
    if not all(isinstance(value, str) for value in strings):
        raise ConfigError(f"{option} holds something else than strings")
    return strings


def _stamp(paths: tuple[Path, ...]) -> _Stamp | None:
    """The stamp of the files; None where it cannot be taken, which is then said by reading them."""
    try:
        return stamp_of(paths)
    except (OSError, ConfigError):
        return None


def _settled(stamp: _Stamp | None) -> _Stamp | None:
    """The stamp, if it can be gone by: what has just changed may change again within one tick of its clock."""
    newest = max((changed for _, changed, _, _ in stamp), default=0) if stamp is not None else 0
    return stamp if time.time() - newest / 1_000_000_000 >= _YOUNG else None
