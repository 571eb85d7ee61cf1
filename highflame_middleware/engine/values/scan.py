"""Every detector of values over one folded text."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

from ...sessions.pseudonyms import PATTERN
from . import assignments, pem, pii, secrets, wallets
from .finding import Finding

__all__ = ["CONTEXT", "scan"]

CONTEXT = 192  # characters: more than any detector reads in front of what it finds


def scan(text: str, start: int = 0) -> Iterator[Finding]:
    """What a folded text holds of credentials and personal data from ``start`` on, in no order and with overlaps.

    What stands before ``start`` is context; a finding that begins there may be given as well.

    >>> [found.type for found in scan("mail a@example.org")]
    ['email']
    """
    lowered = text.lower()
    if "[" in lowered:
        # The name of a type announces nothing: a text that has been redacted has to stay as it is.
        lowered = _marks().sub(lambda mark: " " * len(mark.group()), lowered)
    yield from pem.find(text, start)
    words = secrets.long_words(text, start)
    yield from secrets.find(text, start, words)
    yield from wallets.find(text, start, words)
    yield from assignments.find(text, lowered)
    yield from pii.find(text, lowered, start)


@functools.cache
def _marks() -> re.Pattern[str]:
    return re.compile(rf"\[redacted:[a-z_]{{1,40}}\]|{PATTERN.lower()}")
