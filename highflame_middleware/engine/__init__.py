"""The embedded guard engine: detectors, rules and a window for streams. Pure, offline, standard library only."""

from .embedded import EmbeddedGuard
from .kinds import DEFAULT_REDACTED

__all__ = ["DEFAULT_REDACTED", "EmbeddedGuard"]
