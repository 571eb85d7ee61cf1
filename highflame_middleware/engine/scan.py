"""Every detector of values over one folded text."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

from . import assignments, pem, pii, secrets
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
    if "[redacted:" in lowered:
        # The name of a type announces nothing: a text that has been redacted has to stay as it is.
        lowered = _marks().sub(lambda mark: " " * len(mark.group()), lowered)
    yield from pem.find(text, start)
    yield from secrets.find(text, start)
    yield from assignments.find(text, lowered)
    yield from pii.find(text, lowered, start)


@functools.cache
def _marks() -> re.Pattern[str]:
    return re.compile(r"\[redacted:[a-z_]{1,40}\]")
