"""The embedded guard engine: detectors, rules and a window for streams. Pure, offline, standard library only.

`EmbeddedGuard` is the guard. `values` finds what has a place in a text, `wording` tells injections and
commands by how they are worded, `readers` say what else there is to know of a text; `docket` keeps what was seen
and asks the rules, `window` does all of it on a text that is still being written.
"""

from .embedded import EmbeddedGuard
from .kinds import DEFAULT_REDACTED
from .readers.table import TELLS
from .sessions import FACTS as _REMEMBERED

__all__ = ["DEFAULT_REDACTED", "FACTS", "EmbeddedGuard"]

#: Every fact that this engine can tell, under Shield's context keys.
FACTS: frozenset[str] = frozenset(
    {
        *(fact for facts in TELLS.values() for fact in facts),
        *_REMEMBERED,
        *("secrets_detected", "secret_types", "secret_count", "pii_detected", "pii_types", "pii_count"),
        *("invisible_chars_detected", "invisible_chars_score"),
        *("content_type", "direction", "message_role", "tool_name", "tool_is_builtin"),
    }
)
