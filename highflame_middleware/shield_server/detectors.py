"""What looks at texts here, by Shield's names: which facts each detector makes, and what it has made of a text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .._version import __version__
from ..engine import EmbeddedGuard
from ..engine.readers.table import READERS
from ..guard.protocol import Binding
from ..guard.rules import Fact, canonical

__all__ = ["Detector", "Inventory"]


@dataclass(frozen=True, slots=True)
class Detector:
    """A detector: how costly it is (``tier``), and the type of each fact that it may make, by context key."""

    name: str
    tier: str
    category: str
    description: str
    keys: Mapping[str, str]


def _row(name: str, category: str, description: str, /, tier: str = "fast", **keys: str) -> Detector:
    return Detector(name, tier, category, description, keys)


_BOOL, _LONG, _TEXT, _SET = "bool", "long", "string", "set"
# What is no reader of the engine: values are looked for, and sessions kept, whatever detectors are asked for.
_ALWAYS = ("secrets", "pii", "security", "loop_detector", "action_pattern", "session")
_DETECTORS: Mapping[str, Detector] = {
    row.name: row
    for row in (
        _row(
            "secrets",
            "secrets",
            "Keys, tokens, passwords and private keys, by form and by name",
            secrets_detected=_BOOL,
            secret_types=_SET,
            secret_count=_LONG,
        ),
        _row(
            "pii",
            "data_protection",
            "Personal data that can be validated: cards, accounts, identity numbers, addresses",
            pii_detected=_BOOL,
            pii_types=_SET,
            pii_count=_LONG,
        ),
        _row(
            "security",
            "injection",
            "Invisible and bidirectional characters, smuggled text",
            invisible_chars_detected=_BOOL,
            invisible_chars_score=_LONG,
            contains_non_ascii=_BOOL,
            non_ascii_score=_LONG,
        ),
        _row(
            "injection",
            "injection",
            "Orders to a model in texts of users and tools",
            "standard",
            injection_score=_LONG,
            jailbreak_score=_LONG,
            injection_type=_TEXT,
        ),
        _row(
            "command_injection",
            "injection",
            "Commands in tool arguments that destroy or carry away",
            command_injection_detected=_BOOL,
            command_injection_score=_LONG,
            command_injection_type=_TEXT,
        ),
        _row(
            "sql_injection",
            "injection",
            "SQL in the place of a value",
            sql_injection_detected=_BOOL,
            sql_injection_score=_LONG,
            sql_injection_type=_TEXT,
        ),
        _row(
            "path_traversal",
            "injection",
            "Paths that lead out of where they begin, or to a system's secrets",
            path_traversal_detected=_BOOL,
            path_traversal_severity=_TEXT,
            path_traversal_type=_TEXT,
            path_traversal_score=_LONG,
        ),
        _row(
            "encoded_injection",
            "injection",
            "What shows only when a text is decoded",
            encoded_content_detected=_BOOL,
            encoded_types=_SET,
            encoded_count=_LONG,
            encoded_score=_LONG,
        ),
        _row(
            "exfiltration",
            "agent_security",
            "Links and images whose address carries data away",
            exfiltration_detected=_BOOL,
            exfiltration_score=_LONG,
            exfiltration_type=_TEXT,
        ),
        _row(
            "keyword",
            "content_safety",
            "Words and patterns of your own lists",
            keyword_matched=_BOOL,
            keyword_categories=_SET,
            keyword_count=_LONG,
        ),
        _row(
            "script",
            "context",
            "The script that a text is mostly written in",
            detected_script=_TEXT,
            is_latin_script=_BOOL,
            script_confidence=_LONG,
        ),
        _row(
            "language",
            "context",
            "The language of a text",
            detected_language=_TEXT,
            is_english=_BOOL,
            language_confidence=_LONG,
        ),
        _row(
            "code",
            "code",
            "Source code, and in which languages",
            contains_code=_BOOL,
            code_languages=_SET,
            code_ratio=_LONG,
        ),
        _row(
            "tool_risk",
            "tool_safety",
            "What a tool is able to do",
            tool_name=_TEXT,
            tool_is_builtin=_BOOL,
            tool_risk_score=_LONG,
            tool_is_sensitive=_BOOL,
            tool_category=_TEXT,
            mcp_server=_TEXT,
            mcp_tool=_TEXT,
            mcp_server_verified=_BOOL,
        ),
        _row(
            "mcp_risk",
            "mcp",
            "Risky configurations of MCP servers",
            mcp_config_risk=_BOOL,
            mcp_risk_score=_LONG,
            mcp_risk_type=_TEXT,
        ),
        _row(
            "tool_poisoning",
            "mcp",
            "Orders hidden in the description of a tool",
            tool_poisoning_detected=_BOOL,
            tool_poisoning_score=_LONG,
            tool_poisoning_type=_TEXT,
        ),
        _row(
            "cross_origin",
            "mcp",
            "Tools that speak of the tools of others",
            cross_origin_detected=_BOOL,
            cross_origin_score=_LONG,
            cross_origin_type=_TEXT,
        ),
        _row(
            "rug_pull",
            "mcp",
            "Tools that have changed since they were first seen",
            rug_pull_detected=_BOOL,
            rug_pull_score=_LONG,
            rug_pull_type=_TEXT,
        ),
        _row(
            "loop_detector",
            "agent_behavior",
            "The same call over and over in a session",
            loop_detected=_BOOL,
            loop_count=_LONG,
            loop_tool=_TEXT,
        ),
        _row(
            "action_pattern",
            "agent_behavior",
            "Sequences of calls in a session that carry data away",
            sequence_risk=_LONG,
            suspicious_pattern=_BOOL,
            pattern_type=_TEXT,
        ),
        _row(
            "session",
            "agent_behavior",
            "What has been found in a session so far",
            session_pii_detected=_BOOL,
            session_pii_types=_SET,
            session_secrets_detected=_BOOL,
            session_secret_types=_SET,
            session_injection_detected=_BOOL,
            session_command_injection=_BOOL,
            session_threat_turns=_LONG,
            session_cumulative_risk_score=_LONG,
            session_max_injection_score=_LONG,
            session_max_jailbreak_score=_LONG,
            session_max_command_injection_score=_LONG,
            session_max_pii_score=_LONG,
            session_max_secret_score=_LONG,
            session_max_sensitivity=_TEXT,
            conversation_turn=_LONG,
            multi_turn_detection=_BOOL,
        ),
    )
}
_TIERS = ("fast", "standard", "slow")


class Inventory:
    """The detectors of one guard. Of a guard that is not the embedded one nothing is known but its name.

    >>> from highflame_middleware.guard.protocol import bind
    >>> inventory = Inventory(bind(EmbeddedGuard()), EmbeddedGuard())
    >>> inventory.owner("injection_score"), inventory.unknown(["injection", "toxicity"])
    ('injection', ['toxicity'])
    """

    def __init__(self, binding: Binding, guard: object) -> None:
        self._ours = ours = isinstance(guard, EmbeddedGuard)
        if ours:
            names = (*_ALWAYS, *(name for name in READERS if name not in _ALWAYS))
            rows = [_DETECTORS.get(name) or _row(name, "custom", "A detector of the engine") for name in names]
        else:
            rows = [_row(binding.name, "custom", "A guard of your own", "standard")]
        self._rows = {row.name: row for row in rows}
        self._owners = {key: row.name for row in rows for key in row.keys}
        self._others = "request" if ours else binding.name

    def owner(self, key: str) -> str:
        """Which detector a fact comes from; what none is known for comes from the request itself."""
        return self._owners.get(key, self._others)

    def unknown(self, names: Iterable[str]) -> list[str]:
        """The names that are no detector's; a guard of one's own may know any of them."""
        return [name for name in names if name not in self._rows] if self._ours else []

    def needed(self, keys: Iterable[str]) -> list[str]:
        """The detectors that make any of these facts."""
        owners = {self._owners.get(key) for key in keys}
        return [name for name, row in self._rows.items() if name in owners or not row.keys or name in _ALWAYS]

    @property
    def rows(self) -> tuple[Detector, ...]:
        """The detectors."""
        return tuple(self._rows.values())

    @property
    def tiers(self) -> list[str]:
        """The tiers that there are detectors of."""
        found = {row.tier for row in self._rows.values()}
        return [tier for tier in _TIERS if tier in found]

    def listed(self) -> dict[str, Any]:
        """The list of detectors, as Shield answers it."""
        rows = [
            {
                "name": row.name,
                "display_name": row.name.replace("_", " ").capitalize(),
                "version": __version__,
                "tier": row.tier,
                "status": "healthy",
                "category": row.category,
                "description": row.description,
                "configurable": False,
                "tags": [],
                "context_keys": [_key(key, type_) for key, type_ in row.keys.items()],
            }
            for row in self._rows.values()
        ]
        return {"count": len(rows), "detectors": rows}

    def results(
        self, context: Mapping[str, Any], latency_ms: float, *, asked: Iterable[str] = ()
    ) -> list[dict[str, Any]]:
        """What each detector made of a text. They read it together, so the time of each is that of all.

        Of those that are ``asked`` for, one that is not here has an error, and is not passed over in silence.
        """
        wanted = (tuple(asked) if self._ours else ()) or tuple(self._rows)
        facts = facts_of(context)
        results = []
        for name in wanted:
            row = self._rows.get(name)
            found = {key: fact for key, fact in facts.items() if self.owner(key) == name}
            result: dict[str, Any] = {
                "name": name,
                "status": "healthy" if row is not None else "error",
                "tier": row.tier if row is not None else "standard",
                "latency_ms": round(latency_ms),
                "context": found if row is not None else {},
            }
            if row is None:
                result["error"] = "there is no such detector here"
            results.append(result)
        return results


def facts_of(context: Mapping[str, Any]) -> dict[str, Any]:
    """What a guard found out, under the keys that policies read."""
    facts: dict[str, Fact] = {
        key: fact for key, fact in context.items() if isinstance(fact, bool | int | str | tuple)
    }
    rest = {key: fact for key, fact in context.items() if key not in facts}
    return {**rest, **canonical(facts)}


def _key(key: str, type_: str) -> dict[str, Any]:
    described = {"key": key, "type": type_, "description": key.replace("_", " ")}
    return {**described, "range": "0-100"} if key.endswith("_score") else described
