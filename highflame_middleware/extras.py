"""Optional packages: imported where they are needed, with one wording for when they are not there."""

from __future__ import annotations

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
    try:
        return import_module(module)
    except ImportError as error:
        if error.name is not None and error.name.partition(".")[0] != module.partition(".")[0]:
            raise
        name = needed.partition(">")[0]
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            found = "none"
        raise MissingExtraError(
            f"this needs {needed}, and found {found}: pip install 'highflame-middleware[{extra}]'"
        ) from error
