"""What an agent has done lately, as a session remembers it, and what that tells of the call it makes now.

Pure functions over values: whoever keeps sessions hands in the recent actions, the
present one last, and gets facts under Shield's context keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Protocol

from ...guard.rules import Fact

__all__ = [
    "KINDS",
    "MOST_REMEMBERED",
    "Action",
    "Seen",
    "change_facts",
    "loop_facts",
    "remembered",
    "sequence_facts",
]

MOST_REMEMBERED = 20  # actions of one session
LOOP = 3  # the same call so often in a row is a loop

# What an action may be of; one may be of several kinds, or of none that matters here.
KINDS: frozenset[str] = frozenset(
    {
        "reads",  # a file, a mailbox, a page
        "reads_secret",  # where credentials are kept
        "dumps",  # a whole table or database
        "packs",  # many files into one
        "sends",  # to somebody outside: mail, upload, a request with a body
        "writes",
        "deletes",
        "destroys",  # more than can be brought back: a table, a tree, a branch
        "runs",
    }
)


@dataclass(frozen=True, slots=True)
class Action:
    """One tool call: no word of its arguments, only their ``digest`` and what ``kinds`` of things it does."""

    tool: str
    digest: str
    kinds: tuple[str, ...] = ()


class Seen(Protocol):
    """Remembers the first digest of each key. Bounded, and safe to share between threads."""

    def first(self, key: str, digest: str) -> str | None:
        """The digest that was first given for ``key``, if it was another; where there is none, this one is now."""
        ...


@dataclass(frozen=True, slots=True)
class _Pattern:
    """Kinds of actions in this order, with no more than `_BETWEEN` others between them."""

    type: str
    risk: int
    steps: tuple[str, ...]
    suspicious: bool = True


_BETWEEN = 5
# The gravest first. What agents do all day (read something, then mail it) is told by its risk only.
_PATTERNS: tuple[_Pattern, ...] = (
    _Pattern("secret_exfiltration", 95, ("reads_secret", "sends")),
    _Pattern("db_exfiltration", 90, ("dumps", "sends")),
    _Pattern("data_exfiltration", 85, ("packs", "sends")),
    _Pattern("credential_theft", 80, ("reads_secret", "reads_secret", "reads_secret")),
    _Pattern("destructive_sequence", 75, ("destroys", "destroys", "destroys")),
    _Pattern("none", 40, ("reads", "sends"), suspicious=False),
    _Pattern("none", 40, ("deletes", "deletes", "deletes"), suspicious=False),
)


def remembered(actions: Sequence[Action], action: Action) -> tuple[Action, ...]:
    """The actions to remember once ``action`` has been taken; the oldest are forgotten."""
    return (*actions, action)[-MOST_REMEMBERED:]


def loop_facts(actions: Sequence[Action], *, threshold: int = LOOP) -> dict[str, Fact]:
    """Whether the last action is the same call as those right before it, and how often it was made.

    >>> loop_facts([Action("search", "1f")] * 4)
    {'loop_detected': True, 'loop_count': 4, 'loop_tool': 'search'}
    """
    if not actions:
        return {"loop_detected": False, "loop_count": 0, "loop_tool": ""}
    last = actions[-1]
    call = (last.tool, last.digest)
    same = list(takewhile(lambda action: (action.tool, action.digest) == call, reversed(actions)))
    return {"loop_detected": len(same) >= threshold, "loop_count": len(same), "loop_tool": last.tool}


def sequence_facts(actions: Sequence[Action]) -> dict[str, Fact]:
    """Whether the last action ends a sequence that carries data out, gathers credentials or destroys.

    >>> sequence_facts([Action("read_file", "1f", ("reads_secret",)), Action("http_post", "2e", ("sends",))])
    {'suspicious_pattern': True, 'pattern_type': 'secret_exfiltration', 'sequence_risk': 95}
    """
    if len(actions) < 2:
        return {}
    for pattern in _PATTERNS:
        if _ends_in(pattern.steps, actions):
            return {
                "suspicious_pattern": pattern.suspicious,
                "pattern_type": pattern.type,
                "sequence_risk": pattern.risk,
            }
    return {"suspicious_pattern": False, "pattern_type": "none", "sequence_risk": 0}


def change_facts(first: str | None, now: str, *, score: int = 90) -> dict[str, Fact]:
    """What it tells that a tool was first defined as ``first``, and is as ``now``; a change has this ``score``.

    >>> change_facts("1f", "2e")
    {'rug_pull_detected': True, 'rug_pull_score': 90, 'rug_pull_type': 'definition_change'}
    """
    if first is None or first == now:
        return {"rug_pull_detected": False, "rug_pull_score": 0, "rug_pull_type": "none"}
    return {"rug_pull_detected": True, "rug_pull_score": score, "rug_pull_type": "definition_change"}


def _ends_in(steps: Sequence[str], actions: Sequence[Action]) -> bool:
    """Whether the last action is the last step, and the others were taken not long before, each by another call."""
    if steps[-1] not in actions[-1].kinds:
        return False
    at, taken = len(actions) - 1, {(actions[-1].tool, actions[-1].digest)}
    for step in reversed(steps[:-1]):
        for place in range(at - 1, max(-1, at - 2 - _BETWEEN), -1):
            action = actions[place]
            if step in action.kinds and (action.tool, action.digest) not in taken:
                taken.add((action.tool, action.digest))
                at = place
                break
        else:
            return False
    return True
