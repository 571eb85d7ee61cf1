"""The rules that are built in: thresholds on the facts that detectors make, one row each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from ..errors import ConfigError
from ..guard.rules import NOBODY, Fact, RuleOutcome, Subject, canonical, strongest
from ..types import Decision, DeterminingPolicy

__all__ = ["BUILT_IN", "FACTS", "BuiltInRules", "Clause", "Rule"]


@dataclass(frozen=True, slots=True)
class Clause:
    """One thing that has to be so of a fact.

    A score is ``at_least`` so high; a value is ``among`` these, or a list holds one of them; with
    neither, a flag is set.
    """

    key: str
    at_least: int | None = None
    among: frozenset[str] = frozenset()

    def holds(self, facts: Mapping[str, Fact]) -> bool:
        """Whether it is so. A fact that is absent, or of another type than the clause is about, is not."""
        fact = facts.get(self.key)
        if self.at_least is not None:
            return isinstance(fact, int) and not isinstance(fact, bool) and fact >= self.at_least
        if self.among:
            return not self.among.isdisjoint(fact if isinstance(fact, tuple) else (fact,))
        return fact is True


@dataclass(frozen=True, slots=True)
class Rule:
    """A row: when all ``clauses`` hold for a text that one of ``actions`` is about, ``decision`` is called for."""

    id: str
    decision: Decision
    severity: str
    actions: frozenset[str]
    clauses: tuple[Clause, ...]
    reason: str

    @property
    def policy(self) -> DeterminingPolicy:
        """The row as a verdict shows it."""
        category = self.id.partition(".")[0]
        return DeterminingPolicy(
            rule_id=self.id,
            policy_id="built-in",
            policy_name=self.reason,
            effect="forbid",
            mode="enforce",
            category=category,
            severity=self.severity,
            tags=(f"category:{category}",),
        )


_TALK = frozenset({"process_prompt", "process_response"})
_TOOL = frozenset({"call_tool"})
_SERVER = _TOOL | {"connect_server"}
_TEXT = _TALK | _TOOL
_ANY = _TEXT | {"read_file", "write_file"}
_DENY, _MODIFY = Decision.DENY, Decision.MODIFY


def _score(key: str, at_least: int) -> Clause:
    return Clause(key, at_least=at_least)


def _among(key: str, *values: str) -> Clause:
    return Clause(key, among=frozenset(values))


def _personal(name: str, severity: str, reason: str, *types: str) -> Rule:
    return Rule(f"privacy.pii-{name}", _MODIFY, severity, _ANY, (_among("pii_types", *types),), reason)


_RISKY = tuple(f"{kind}_score" for kind in ("violence", "hate_speech", "sexual", "weapons", "crime", "profanity"))

# The thresholds are those of Shield's default policies, with three differences: secrets and personal data are taken
# out rather than stopped, commands are judged by what they do, and a tool is not stopped for being called "shell".
BUILT_IN: tuple[Rule, ...] = (
    Rule(
        "security.injection",
        _DENY,
        "high",
        _TEXT,
        (_score("injection_score", 86),),
        "Prompt injection suspected",
    ),
    Rule("security.jailbreak", _DENY, "high", _TALK, (_score("jailbreak_score", 81),), "Jailbreak suspected"),
    Rule(
        "security.injection-and-jailbreak",
        _DENY,
        "high",
        _TALK,
        (_score("injection_score", 61), _score("jailbreak_score", 61)),
        "Prompt injection and jailbreak suspected together",
    ),
    Rule(
        "security.invisible",
        _DENY,
        "high",
        _ANY,
        (_score("invisible_chars_score", 51),),
        "Text hidden in invisible characters",
    ),
    Rule(
        "security.command-injection",
        _DENY,
        "critical",
        _TOOL,
        (_score("command_injection_score", 75),),
        "Destructive command in tool arguments",
    ),
    Rule(
        "security.sql-injection",
        _DENY,
        "high",
        _TEXT,
        (_score("sql_injection_score", 75),),
        "SQL injection suspected",
    ),
    Rule(
        "security.path-traversal",
        _DENY,
        "high",
        _ANY,
        (Clause("path_traversal_detected"), _among("path_traversal_severity", "high", "critical")),
        "Path traversal suspected",
    ),
    Rule(
        "security.encoded-secret",
        _DENY,
        "critical",
        _ANY,
        (_score("encoded_score", 95),),
        "A secret in an encoded form",
    ),
    Rule(
        "security.data-in-address",
        _DENY,
        "critical",
        frozenset({"process_response"}),
        (_score("exfiltration_score", 90),),
        "An image whose address carries data away",
    ),
    Rule("data-protection.secrets", _MODIFY, "critical", _ANY, (Clause("secrets_detected"),), "Secrets found"),
    _personal(
        "identity", "critical", "Identity numbers found", "ssn", "passport", "national_id", "drivers_license"
    ),
    _personal("credit-card", "critical", "Card numbers found", "credit_card"),
    _personal(
        "bank-account", "critical", "Bank accounts found", "iban", "bank_account", "swift_bic", "aba_routing"
    ),
    _personal(
        "medical",
        "medium",
        "Medical identifiers found",
        *("medical_record", "patient_record", "medicare_beneficiary_id", "npi", "medical_term", "blood_type"),
    ),
    _personal("tax", "high", "Tax identifiers found", "itin", "ein", "ptin"),
    Rule(
        "agent-security.dangerous-tool",
        _DENY,
        "critical",
        _TOOL,
        (_score("tool_risk_score", 86),),
        "Dangerous tool",
    ),
    Rule(
        "agent-security.dangerous-category",
        _DENY,
        "critical",
        _TOOL,
        (_among("tool_category", "dangerous"),),
        "Tool of a dangerous category",
    ),
    Rule(
        "agent-security.sensitive-tool",
        _DENY,
        "high",
        _TOOL,
        (Clause("tool_is_sensitive"), _score("tool_risk_score", 71)),
        "Sensitive tool, called with an elevated risk",
    ),
    Rule(
        "agent-security.exfiltration",
        _DENY,
        "critical",
        _TOOL,
        (
            Clause("suspicious_pattern"),
            _among("pattern_type", "data_exfiltration", "secret_exfiltration", "db_exfiltration"),
        ),
        "A sequence of calls that carries data out",
    ),
    Rule(
        "agent-security.sequence-risk",
        _DENY,
        "high",
        _TOOL,
        (_score("sequence_risk", 81),),
        "A sequence of calls of high risk",
    ),
    Rule(
        "agent-security.tool-poisoning",
        _DENY,
        "critical",
        _SERVER | {"process_prompt"},
        (_score("tool_poisoning_score", 70),),
        "Instructions hidden in a tool's description",
    ),
    Rule(
        "agent-security.rug-pull",
        _DENY,
        "high",
        _TOOL,
        (Clause("rug_pull_detected"), _score("rug_pull_score", 70)),
        "A tool has changed since it was first seen",
    ),
    Rule(
        "agent-security.mcp-config",
        _DENY,
        "high",
        _SERVER,
        (Clause("mcp_config_risk"), _score("mcp_risk_score", 70)),
        "Risky configuration of an MCP server",
    ),
    *(
        Rule(
            f"trust-safety.{key.removesuffix('_score').replace('_', '-')}",
            _DENY,
            "critical",
            _TALK,
            (_score(key, 76 if key == "hate_speech_score" else 91),),
            "Harmful content",
        )
        for key in _RISKY
    ),
    *(
        Rule(
            "trust-safety.combined",
            _DENY,
            "high",
            _TALK,
            (_score(one, 61), _score(other, 61)),
            "Several signs of harmful content",
        )
        for place, one in enumerate(_RISKY)
        for other in _RISKY[place + 1 :]
    ),
)

#: The facts that these rules read.
FACTS: frozenset[str] = frozenset(clause.key for rule in BUILT_IN for clause in rule.clauses)

_GRAVITY = {"critical": 0, "high": 1, "medium": 2, "low": 3}


class BuiltInRules:
    """The rows above, with other thresholds where they are given, and without the rows that are not wanted.

    Parameters
    ----------
    thresholds
        The score, from 1 to 100, at which a row speaks, by the row's id.
    without
        Ids of rows, or whole categories such as ``"trust-safety"``, that are left out.
    only
        Ids or categories of the rows that are kept; without it, all of them.

    >>> rules = BuiltInRules(thresholds={"security.injection": 70})
    >>> outcome = rules.decide({"injection_score": 75, "secrets_detected": True}, action="process_prompt")
    >>> outcome.decision.value, outcome.reason, [policy.rule_id for policy in outcome.policies]
    ('deny', 'Prompt injection suspected', ['security.injection', 'data-protection.secrets'])
    """

    __slots__ = ("_rules",)

    def __init__(
        self,
        *,
        thresholds: Mapping[str, int] | None = None,
        without: Iterable[str] = (),
        only: Iterable[str] | None = None,
    ) -> None:
        for option, value in (("without", without), ("only", only)):
            if isinstance(value, str):
                raise ConfigError(f"{option}={value!r} is one string: give a tuple of ids, such as {option}=('…',)")
        given, left_out = dict(thresholds or {}), frozenset(without)
        kept = None if only is None else frozenset(only)
        rules = tuple(_at(rule, given.get(rule.id)) for rule in BUILT_IN)
        known = {rule.id for rule in rules}
        known_categories = {id_.partition(".")[0] for id_ in known}
        if unknown := sorted((given.keys() - known) | ((left_out | (kept or set())) - known - known_categories)):
            raise ConfigError(f"there is no built-in rule {unknown[0]!r}; there are: {', '.join(sorted(known))}")
        named = [(rule, (rule.id, rule.id.partition(".")[0])) for rule in rules]
        rules = tuple(
            rule
            for rule, names in named
            if left_out.isdisjoint(names) and (kept is None or not kept.isdisjoint(names))
        )
        actions = frozenset[str]().union(*(rule.actions for rule in BUILT_IN))
        self._rules = {action: tuple(rule for rule in rules if action in rule.actions) for action in actions}

    def decide(
        self,
        facts: Mapping[str, Fact],
        *,
        action: str,
        subject: Subject = NOBODY,  # noqa: ARG002 - these rules are the same for everybody
    ) -> RuleOutcome:
        """Decide about a text by its facts; an action that the rules do not know is denied."""
        rules = self._rules.get(action)
        if rules is None:
            error = f"no rule is about the action {action[:100]!r}"
            return RuleOutcome(Decision.DENY, f"Denied: {error}", errors=(error,))
        read = canonical(facts)
        concerned = [rule for rule in rules if rule.clauses[0].key in read]
        hits = [rule for rule in concerned if all(clause.holds(read) for clause in rule.clauses)]
        if not hits:
            return RuleOutcome(Decision.ALLOW)
        decision = strongest(*(rule.decision for rule in hits))
        hits.sort(key=lambda rule: (rule.decision is not decision, _GRAVITY[rule.severity]))
        policies = tuple({rule.id: rule.policy for rule in hits}.values())
        return RuleOutcome(decision, hits[0].reason, policies)

    @property
    def rows(self) -> tuple[Rule, ...]:
        """The rows in force; one id may have several."""
        return tuple(dict.fromkeys(rule for rules in self._rules.values() for rule in rules))

    @property
    def policies(self) -> tuple[DeterminingPolicy, ...]:
        """The rows as verdicts show them, one for each id."""
        return tuple({rule.id: rule.policy for rule in self.rows}.values())

    @property
    def reads(self) -> frozenset[str]:
        """The facts that the rows read."""
        return frozenset(clause.key for rule in self.rows for clause in rule.clauses)

    def __repr__(self) -> str:
        return f"BuiltInRules({len({rule.id for rules in self._rules.values() for rule in rules})} rules)"


def _at(rule: Rule, threshold: int | None) -> Rule:
    """The row with another threshold, for each of its scores."""
    if threshold is None:
        return rule
    if isinstance(threshold, bool) or not isinstance(threshold, int) or not 1 <= threshold <= 100:
        raise ConfigError(
            f"thresholds[{rule.id!r}]={threshold!r} cannot be used: give a whole number from 1 to 100"
        )
    scored = [clause for clause in rule.clauses if clause.at_least is not None]
    if not scored:
        raise ConfigError(f"thresholds[{rule.id!r}] cannot be used: that rule does not go by a score")
    clauses = tuple(replace(clause, at_least=threshold) if clause in scored else clause for clause in rule.clauses)
    return replace(rule, clauses=clauses)
