"""Detectors that say something of a whole text: each reads it piece by piece, and tells facts and signals.

What has a place in the text (a secret, a number) is found by `scan`; what is read
here has none: the habits of an injection, a command, what a tool is able to do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from ...guard.rules import Fact
from ...types import GuardRequest, Signal, Stage
from ..kinds import signal_of
from ..policy import Policy
from ..wording import commands, injection
from ..wording.classifier import Classifier
from ..wording.tally import Tally
from .definitions import CROSS_ORIGIN, POISONING, Change, is_definition
from .encoded import Decoder
from .keywords import Keywords
from .links import Links
from .paths import PATHS
from .queries import SQL
from .reader import Reader, Told, Watcher, shield_score
from .scripts import Language, Script
from .servers import SERVERS, judge_server
from .syntax import Code
from .tools import Conduct, writes_text

__all__ = ["OWN_ROLES", "READERS", "TELLS", "Reader", "readers_for", "shield_score"]

OWN_ROLES = frozenset({"system", "developer", "assistant"})  # who writes as these gives the orders
# Where a text only speaks of such a thing, as a question or a lesson does, and where it is a text to be kept.
_SPOKEN_OF = 70


class _Injection:
    """Orders to a model in a text that gives it none: in what users write and what tools return."""

    __slots__ = ("_classifier", "_limit", "facts")

    def __init__(self, policy: Policy, *, result: bool) -> None:
        self._limit = policy.injection_threshold
        self._classifier = Classifier(result=result)
        self.facts: Mapping[str, Fact] = {}

    def read(self, folded: str, *, final: bool) -> bool:
        classifier = self._classifier
        before = (classifier.score, classifier.jailbreak)
        classifier.read(folded, final=final)
        if (classifier.score, classifier.jailbreak) == before:
            return False
        facts: dict[str, Fact] = {"injection_score": shield_score(classifier.score, injection.THRESHOLD)}
        if classifier.jailbreak:
            facts["jailbreak_score"] = shield_score(classifier.jailbreak, injection.THRESHOLD)
        self.facts = facts
        return True

    def signals(self) -> Iterable[Signal]:
        score = int(self.facts.get("injection_score", 0))  # type: ignore[arg-type] # ours, and a number
        if 2 * score >= self._limit:
            severity = "" if score >= self._limit else "medium"
            names = ", ".join(self._classifier.names)
            yield signal_of("injection", category=names, score=score, severity=severity)


class _Commands:
    """Commands in the arguments of a tool that destroy a machine or carry its secrets away."""

    __slots__ = ("_tally", "facts")

    def __init__(self) -> None:
        self._tally = Tally(commands.RULES, limit=commands.THRESHOLD)
        self.facts: Mapping[str, Fact] = {}

    def read(self, folded: str, *, final: bool) -> bool:
        before = self._tally.score
        self._tally.read(folded, final=final)
        if self._tally.score == before:
            return False
        self.facts = {
            "command_injection_score": shield_score(self._tally.score, commands.THRESHOLD, blocks=commands.BLOCKS),
            "command_injection_detected": self._tally.score >= commands.THRESHOLD,
            "command_injection_type": self._tally.names[0] if self._tally.score >= commands.THRESHOLD else "none",
        }
        return True

    def signals(self) -> Iterable[Signal]:
        if self.facts.get("command_injection_detected"):
            score = int(self.facts["command_injection_score"])  # type: ignore[arg-type] # ours, and a number
            yield signal_of("command", category=", ".join(self._tally.names), score=score)


def _injection(policy: Policy, request: GuardRequest) -> Reader | None:
    # Descriptions of tools speak in orders to a model: there as in results, wording alone is no sign.
    result = request.stage is Stage.TOOL_RESULT or is_definition(request)
    return _Injection(policy, result=result) if _gives_none(request) else None


def _commands(policy: Policy, request: GuardRequest) -> Reader | None:  # noqa: ARG001 - one shape for all
    return _Commands() if request.stage is Stage.TOOL_CALL else None


def _gives_none(request: GuardRequest) -> bool:
    """Whether a text is by somebody who gives the model no orders, or gives them like anybody."""
    prompt = request.stage is Stage.PROMPT and request.role not in OWN_ROLES
    return prompt or request.stage is Stage.TOOL_RESULT


def _decoder(policy: Policy, request: GuardRequest) -> Reader | None:
    return Decoder(orders=_gives_none(request), commanding=request.stage is Stage.TOOL_CALL, allow=policy.allow)


def _links(policy: Policy, request: GuardRequest) -> Reader | None:
    return Links(policy.allow_hosts) if request.stage in (Stage.RESPONSE, Stage.TOOL_RESULT) else None


def _queries(policy: Policy, request: GuardRequest) -> Reader | None:  # noqa: ARG001
    return Watcher(SQL, most=_most_of(request)) if request.stage in (Stage.PROMPT, Stage.TOOL_CALL) else None


def _paths(policy: Policy, request: GuardRequest) -> Reader | None:  # noqa: ARG001
    if request.stage not in (Stage.PROMPT, Stage.TOOL_CALL):
        return None
    watcher = Watcher(PATHS, most=_most_of(request))
    if request.file is not None:
        about = Watcher(PATHS)
        about.read(request.file.path[:2_000], final=True)
        watcher = about if about.score > _SPOKEN_OF else watcher
    return watcher


def _most_of(request: GuardRequest) -> int:
    """The score that a text can come to in which something only stands, and is not done."""
    done = request.stage is Stage.TOOL_CALL and request.tool is not None and not writes_text(request.tool.name)
    return 100 if done else _SPOKEN_OF


def _conduct(policy: Policy, request: GuardRequest) -> Reader | None:
    return Conduct(request, policy.tools) if request.stage is Stage.TOOL_CALL and request.tool is not None else None


def _servers(policy: Policy, request: GuardRequest) -> Reader | None:  # noqa: ARG001
    if request.mcp is None and request.action != "connect_server":
        return None
    watcher = Watcher(SERVERS)
    if request.mcp is not None:
        watcher.note(*judge_server(request.mcp))
    return watcher


def _poisoning(policy: Policy, request: GuardRequest) -> Reader | None:  # noqa: ARG001
    return _of_definition(Watcher(POISONING), request)


def _cross_origin(policy: Policy, request: GuardRequest) -> Reader | None:  # noqa: ARG001
    return _of_definition(Watcher(CROSS_ORIGIN), request)


def _of_definition(watcher: Watcher, request: GuardRequest) -> Reader | None:
    """The watcher for a text that defines a tool; or for the description that comes with a call."""
    if is_definition(request):
        return watcher
    if request.stage is Stage.TOOL_CALL and request.tool is not None and request.tool.description:
        return Told(watcher, request.tool.description[:20_000])
    return None


def _change(policy: Policy, request: GuardRequest) -> Reader | None:
    tool = request.tool
    if request.stage is not Stage.TOOL_CALL or tool is None or tool.description is None:
        return None
    return Change(policy.seen, request, tool) if tool.server_id or request.session_id else None


def _keywords(policy: Policy, request: GuardRequest) -> Reader | None:  # noqa: ARG001
    return Keywords(policy.keywords) if policy.keywords is not None else None


# Shield's name of each detector, and what makes its reader for a request: nothing where it has no say.
READERS: Mapping[str, Callable[[Policy, GuardRequest], Reader | None]] = {
    "injection": _injection,
    "keyword": _keywords,
    "script": lambda policy, request: Script(),  # noqa: ARG005
    "language": lambda policy, request: Language(),  # noqa: ARG005
    "code": lambda policy, request: Code() if request.stage is not Stage.TOOL_CALL else None,  # noqa: ARG005
    "encoded_injection": _decoder,
    "exfiltration": _links,  # a name of our own: Shield has none for it
    "command_injection": _commands,
    "sql_injection": _queries,
    "path_traversal": _paths,
    "tool_risk": _conduct,
    "tool_poisoning": _poisoning,
    "cross_origin": _cross_origin,
    "rug_pull": _change,
    "mcp_risk": _servers,
}

#: The facts that each detector tells, by its name; what values, requests and sessions tell is not among them.
TELLS: Mapping[str, tuple[str, ...]] = {
    "injection": ("injection_score", "jailbreak_score"),
    "keyword": ("keyword_matched", "keyword_categories", "keyword_count"),
    "security": ("contains_non_ascii", "non_ascii_score", "invisible_chars_detected", "invisible_chars_score"),
    "script": ("detected_script", "is_latin_script", "script_confidence"),
    "language": ("detected_language", "is_english", "language_confidence"),
    "code": ("contains_code", "code_languages", "code_ratio"),
    "encoded_injection": ("encoded_content_detected", "encoded_types", "encoded_count", "encoded_score"),
    "exfiltration": ("exfiltration_detected", "exfiltration_type", "exfiltration_score"),
    "command_injection": ("command_injection_detected", "command_injection_type", "command_injection_score"),
    "sql_injection": ("sql_injection_detected", "sql_injection_type", "sql_injection_score"),
    "path_traversal": ("path_traversal_detected", "path_traversal_type", "path_traversal_severity"),
    "tool_risk": (
        *("tool_name", "tool_is_builtin", "tool_category", "tool_is_sensitive", "tool_risk_score"),
        *("mcp_server", "mcp_tool", "mcp_server_verified"),
    ),
    "tool_poisoning": ("tool_poisoning_detected", "tool_poisoning_type", "tool_poisoning_score"),
    "cross_origin": ("cross_origin_detected", "cross_origin_type", "cross_origin_score"),
    "rug_pull": ("rug_pull_detected", "rug_pull_type", "rug_pull_score"),
    "mcp_risk": ("mcp_config_risk", "mcp_risk_type", "mcp_risk_score"),
}


def readers_for(policy: Policy, request: GuardRequest) -> list[Reader]:
    """The readers that have something to say of a request; those it asks for, where it names any."""
    made = (
        make(policy, request)
        for name, make in READERS.items()
        if not request.detectors or name in request.detectors
    )
    return [reader for reader in made if reader is not None]
