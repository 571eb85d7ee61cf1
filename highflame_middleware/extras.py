"""Optional packages: imported where they are needed, with one wording for when they are not there."""

from __future__ import annotations

import re
from importlib import import_module, metadata
from typing import Any

from .errors import MissingExtraError

__all__ = ["require"]


def require(module: str, *, extra: str, needed: str) -> Any:
    """Import an optional package, or raise a `MissingExtraError` that says what to install.

    >>> require("no_such_module", extra="gateway", needed="no-such-module>=1")
    Traceback (most recent call last):
    highflame_middleware.errors.MissingExtraError: this needs no-such-module>=1, and found none: pip install \
'highflame-middleware[gateway]'
    """
    name, _, floor = needed.partition(">=")
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        found = None
    missing = MissingExtraError(
        f"this needs {needed}, and found {found or 'none'}: pip install 'highflame-middleware[{extra}]'"
    )
    if found is not None and _release(found) < _release(floor):
        raise missing
    try:
        return import_module(module)
    except ImportError as error:
        if error.name is not None and error.name.partition(".")[0] != module.partition(".")[0]:
            raise
        raise missing from error


def _release(version: str) -> tuple[int, ...]:
    """The numbers that a version begins with, fit to be compared: of 1.40.0rc1 these are 1 and 40."""
    numbers = re.match(r"\d+(\.\d+)*", version)
    parts = [int(number) for number in numbers.group().split(".")] if numbers else []
    while parts and parts[-1] == 0:
        parts.pop()
    return tuple(parts)
