"""The engine as a guard: pure computation on the calling thread, nothing sent anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Literal

from ..errors import ConfigError
from ..guard.rules import Rules
from ..sessions import Session, SessionFault, Sessions, Vault
from ..sessions.vault import Drawer
from ..types import GuardRequest, GuardResponse, Stage
from .allowance import Allow
from .disguise import disguise_of
from .kinds import DEFAULT_REDACTED, resolve
from .memory import Memory
from .policy import policy_of
from .sessions import Past
from .window import EmbeddedWindow

__all__ = ["EmbeddedGuard"]

_SEQUENCES = ("agent-security.exfiltration", "agent-security.sequence-risk")


class EmbeddedGuard:
    """Judges texts by their form and wording: secrets, personal data, injections, hidden text, commands.

    Parameters
    ----------
    redact
        What is taken out of a text: types such as ``"email"``, or the groups
        ``"secrets"``, ``"pii"`` and ``"invisible"``. The rest is only reported.
    deny_tools
        Patterns, as of a shell, of tools that may not be called.
    allow
        Values that are never reported, such as the key of a documentation; or for names of types and groups
        the values and whole-value patterns that are allowed there:
        ``{"email": ["@example.com"], "ip_address": ["10.0.0.0/8"], "secrets": ["re:sk-test-.*"]}``.
    injection_threshold
        The score, from 1 to 100 on Shield's scale, at which a prompt or tool result is denied.
    max_chars
        A longer text is a `GuardError`: whether it passes is for the caller's policy to say.
    rules
        What decides by the facts that the detectors tell; without them the built-in table
        (``engine/ruleset.py``), which stops injections, hidden text, destructive commands and denied tools.
    strategy
        What is put in the place of a value: ``"redact"`` (a mark), ``"mask"``, ``"anonymize"`` (a fake, the
        same for the same value within a session), ``"replace"``; or a strategy for each type or group.
    replacements
        For ``"replace"``: the text for each type or group.
    anonymize_key
        At least 16 secret bytes, for fakes that are the same in every process.
    sessions
        Where sessions are kept: a `Sessions`, ``"memory"`` (a thousand, only told to the rules
        and reported), or None. A request without a session's id has no session.
    sessions_required
        No verdict without the session: where it cannot be had, a `GuardError`.
    keywords
        Words to look for by category, such as ``{"competitors": ["Acme", "re:globex(corp)?"]}``: they are told
        to the rules and reported.
    allow_hosts
        Patterns of the hosts that images in answers may come from, such as ``"*.example.com"``. Without any,
        an image is stopped where its address carries data; with some, wherever else it comes from.
    tools
        What tools are, by patterns of their names: ``"safe"``, ``"sensitive"`` or ``"dangerous"``; the last
        are stopped.
    vault
        A `Vault`: its types are taken out of what a model reads and put back into its answer.

    >>> verdict = EmbeddedGuard().evaluate(GuardRequest(content="Charge 4111 1111 1111 1111, please"))
    >>> verdict.decision.value, verdict.redacted_content
    ('modify', 'Charge [REDACTED:credit_card], please')
    """

    name = "embedded"

    def __init__(
        self,
        *,
        redact: Iterable[str] = DEFAULT_REDACTED,
        deny_tools: Iterable[str] = (),
        allow: Allow = (),
        injection_threshold: int = 86,
        max_chars: int = 1_000_000,
        rules: Rules | None = None,
        strategy: str | Mapping[str, str] = "redact",
        replacements: Mapping[str, str] | None = None,
        anonymize_key: bytes | None = None,
        sessions: Sessions | Literal["memory"] | None = "memory",
        sessions_required: bool = False,
        vault: Vault | None = None,
        keywords: Mapping[str, Iterable[str]] | None = None,
        allow_hosts: Iterable[str] = (),
        tools: Mapping[str, str] | None = None,
    ) -> None:
        self._policy = policy_of(
            redact=redact,
            deny_tools=deny_tools,
            allow=allow,
            injection_threshold=injection_threshold,
            max_chars=max_chars,
            rules=rules,
            disguise=disguise_of(strategy, replacements, anonymize_key),
            keywords=keywords,
            allow_hosts=allow_hosts,
            tools=tools,
            # Sequences of calls are only reported, unless sessions were asked for.
            without=_SEQUENCES if sessions == "memory" else (),
        )
        self._memory = Memory(sessions, required=sessions_required)
        if vault is not None and not isinstance(vault, Vault):
            raise ConfigError(f"vault={type(vault).__name__} is no Vault: give Vault(…)")
        self._vault = vault
        vaulted = resolve(vault.types) if vault is not None else frozenset()
        # What is put away is taken out of what a model reads, and of that alone.
        self._inward = replace(self._policy, redacted=self._policy.redacted | vaulted, vaulted=vaulted)

    @property
    def local(self) -> bool:
        """Whether an evaluation waits for nothing: so it is, unless sessions are kept elsewhere."""
        return self._memory.local

    @property
    def rules(self) -> Rules:
        """What decides by the facts."""
        return self._policy.rules

    def evaluate(self, request: GuardRequest) -> GuardResponse:
        """Judge one text; a text longer than ``max_chars`` is a `GuardError`."""
        session = self._memory.recall(request)
        fault = session if isinstance(session, SessionFault) else None
        changes: list[Session] = []
        window = self._open(request, None if isinstance(session, SessionFault) else session, changes.append)
        verdict = self._memory.keep(request, changes, window.judge(request.content), fault)
        if not verdict.redaction_entries:
            return verdict
        parts, done = [], 0
        for entry in verdict.redaction_entries:
            parts += [request.content[done : entry.start_pos], entry.replacement]
            done = entry.end_pos
        return replace(verdict, redacted_content="".join((*parts, request.content[done:])))

    async def aevaluate(self, request: GuardRequest) -> GuardResponse:
        """The same; where sessions are kept elsewhere, on a thread that may wait for them."""
        if self.local:
            return self.evaluate(request)
        import anyio.to_thread  # noqa: PLC0415 - a part of httpx; only asynchronous callers need it

        return await anyio.to_thread.run_sync(self.evaluate, request, abandon_on_cancel=True)

    def window(self, request: GuardRequest) -> EmbeddedWindow:
        """A window for a text that is still being written, which stands where the request says.

        It waits for nothing: the session is the one that this process saw last.
        """
        return self._open(request, self._memory.glimpse(request), partial(self._memory.defer, request))

    def _open(
        self, request: GuardRequest, session: Session | None, keep: Callable[[Session], None]
    ) -> EmbeddedWindow:
        past = Past(session, request, keep) if session is not None else None
        drawer = self._drawer(request)
        policy = self._inward if drawer is not None and request.to_model else self._policy
        return EmbeddedWindow(policy, request, past=past, drawer=drawer)

    def _drawer(self, request: GuardRequest) -> Drawer | None:
        """Where values are put away, or come back from, for this text; only where a verdict may edit it."""
        vault = self._vault
        if vault is None or not request.mode.edits:
            return None
        if request.session_id:
            scope = f"session:{request.session_id}"
        elif request.call_id:
            scope = f"call:{request.call_id}"
        else:
            return None  # nobody could say whose reply the values belong in
        if request.stage is Stage.TOOL_CALL and not request.to_model:
            tool = request.tool.name if request.tool is not None else None
            return vault.drawer(scope) if vault.restores(tool) else None
        return vault.drawer(scope)

    def __repr__(self) -> str:
        policy = self._policy
        return (
            f"EmbeddedGuard({len(policy.redacted)} types redacted, deny_tools={policy.deny_tools!r}, "
            f"injection_threshold={policy.injection_threshold})"
        )
