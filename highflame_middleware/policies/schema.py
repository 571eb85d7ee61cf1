"""What may be asked: the actions, and the facts that each of them takes, out of highflame-policy's own schema.

Cedar takes an action that it does not know for one that no ``forbid`` is about, so
a uid with a slip in it is allowed whatever the scores are. Uids are therefore made in one place, from an enum
that is compared with the schema when it is read. A newer schema may have
more actions; nobody here asks about those.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from importlib import import_module, resources
from types import MappingProxyType
from typing import Any, Final

from ..errors import ConfigError
from ..extras import require

__all__ = ["NAMESPACE", "OURS", "Action", "Kind", "Schema", "cedar", "guardrails", "templates", "uid_of"]

NAMESPACE: Final = "Guardrails"
#: The facts that are filled in here where nobody tells them.
OURS: Final = frozenset({"content_type", "detector_count", "direction", "request_id", "timestamp"})

_EXTRA = "policy"
_KINDS = {"Bool": bool, "Long": int, "String": str, "Set<String>": tuple}
_COMMENT = re.compile(r"//[^\n]*")
_TYPE = re.compile(r"\btype\s+(\w+)\s*=\s*(\w+\s*;|\{)")
_ACTION = re.compile(r'\baction\s+"(\w+)"\s+appliesTo\s*\{([^}]*)\}')
_CONTEXT = re.compile(r"\bcontext\s*:\s*(\w+)")
_ATTRIBUTE = re.compile(r'"(\w+)"(\?)?\s*:\s*(Set\s*<\s*\w+\s*>|\w+|\{)')


class Action(StrEnum):
    """What a text is about. There is no other way to a uid than through this enum."""

    PROCESS_PROMPT = "process_prompt"
    PROCESS_RESPONSE = "process_response"
    CALL_TOOL = "call_tool"
    READ_FILE = "read_file"
    WRITE_FILE = "write_file"
    CONNECT_SERVER = "connect_server"

    @property
    def is_talk(self) -> bool:
        """Whether it is about what a model reads or writes; only then may an application be the resource."""
        return self in (Action.PROCESS_PROMPT, Action.PROCESS_RESPONSE)


def uid_of(action: Action) -> dict[str, str]:
    """The uid that policies are written against.

    >>> uid_of(Action.CALL_TOOL)
    {'type': 'Guardrails::Action', 'id': 'call_tool'}
    """
    return {"type": f"{NAMESPACE}::Action", "id": Action(action).value}


@dataclass(frozen=True, slots=True)
class Kind:
    """What a fact has to be: ``type`` is bool, int, str or tuple (of strings), or None for what no fact can be."""

    type: type | None
    optional: bool


@dataclass(frozen=True, slots=True)
class Schema:
    """Highflame's schema of the guardrails product: parsed by Cedar, with the facts of each action."""

    handle: Any
    facts: Mapping[Action, Mapping[str, Kind]]

    @property
    def keys(self) -> frozenset[str]:
        """Every key that some action takes."""
        return frozenset(key for kinds in self.facts.values() for key in kinds)


@lru_cache(maxsize=1)
def cedar() -> Any:
    """The Cedar engine, of a version that keeps parsed policies."""
    return require("cedarpy", extra=_EXTRA, needed="cedarpy>=4.12.2")


@lru_cache(maxsize=1)
def guardrails() -> Schema:
    """The schema of the installed highflame-policy, parsed once."""
    templates()
    text = (resources.files("highflame_policy._schemas.guardrails") / "schema.cedarschema").read_text("utf-8")
    return Schema(cedar().Schema.from_str(text), MappingProxyType(facts_of(text)))


def templates() -> Any:
    """The module of highflame-policy that holds the templates of the guardrails product."""
    cedar()  # which it imports, and which may be the one that is absent
    require("highflame_policy", extra=_EXTRA, needed="highflame-policy>=2.8")
    return import_module("highflame_policy.guardrails_defaults")


def facts_of(text: str) -> dict[Action, Mapping[str, Kind]]:
    """The facts of each action, read from a schema; one that does not know the actions above is a `ConfigError`."""
    text = _COMMENT.sub("", text)
    types: dict[str, Mapping[str, Kind]] = {}
    aliases: dict[str, str] = {}
    for match in _TYPE.finditer(text):
        name, rest = match.groups()
        if rest == "{":
            types[name] = _attributes(_block(text, match.end()))
        else:
            aliases[name] = rest.rstrip("; \n\t")
    contexts = {name: _CONTEXT.search(body) for name, body in _ACTION.findall(text)}
    facts: dict[Action, Mapping[str, Kind]] = {}
    for action in Action:
        found = contexts.get(action.value)
        kinds = types.get(aliases.get(found[1], found[1])) if found else None
        if kinds is None:
            raise ConfigError(f"the installed highflame-policy does not say what {action.value!r} may be told")
        facts[action] = MappingProxyType(kinds)
    return facts


def _block(text: str, start: int) -> str:
    """What stands between a brace that has just been opened and its end."""
    depth = 1
    for match in re.compile(r"[{}]").finditer(text, start):
        depth += 1 if match.group() == "{" else -1
        if depth == 0:
            return text[start : match.start()]
    raise ConfigError("the schema of the installed highflame-policy ends in the middle of a type")


def _attributes(block: str) -> dict[str, Kind]:
    kinds: dict[str, Kind] = {}
    at = 0
    while match := _ATTRIBUTE.search(block, at):
        name, optional, written = match.groups()
        at = match.end()
        if written == "{":
            at += len(_block(block, at)) + 1
        kinds[name] = Kind(_KINDS.get(re.sub(r"\s", "", written)), optional is not None)
    return kinds
