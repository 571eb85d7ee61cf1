"""What the middleware is told when it is made: each option checked once, with a word on what to give instead."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..codecs import CODECS
from ..codecs.parts import dump_json
from ..errors import ConfigError
from .admission import Admission
from .paths import PathTable
from .selectors import Selection

__all__ = ["admission_of", "count_of", "formats_of", "listed", "metadata_of", "selections_of"]

_METADATA = "/.well-known/oauth-protected-resource"


def count_of(name: str, value: Any, unit: str) -> int:
    """A bound, in some unit."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name}={value!r} cannot be used: give a number of {unit}, 1 or more")
    return value


def listed(name: str, paths: Any) -> dict[str, bool]:
    """A list of paths, as a table of them."""
    if isinstance(paths, str | Mapping) or not isinstance(paths, Iterable):
        raise ConfigError(f"{name}={paths!r} must be a list of paths, such as ['/chat', '/agents/*']")
    return dict.fromkeys(paths, True)


def formats_of(formats: Any) -> PathTable[str]:
    """The names of formats by path."""
    if not isinstance(formats, Mapping):
        raise ConfigError(f"formats={formats!r} must be a table such as {{'/chat': 'openai-chat'}}")
    for path, name in formats.items():
        if name not in CODECS:
            raise ConfigError(f"formats[{path!r}]={name!r} is unknown: use one of {', '.join(CODECS)}")
    return PathTable("formats", formats)


def selections_of(name: str, given: Any) -> PathTable[Selection]:
    """Selectors by path, compiled."""
    if not isinstance(given, Mapping):
        raise ConfigError(f"{name}={given!r} must be a table such as {{'/chat': ['prompt']}}")
    return PathTable(name, {path: Selection.of(f"{name}[{path!r}]", chosen) for path, chosen in given.items()})


def admission_of(authenticator: Any, **options: Any) -> Admission | None:
    """How tokens are asked for, if they are."""
    if authenticator is not None:
        return Admission(authenticator, **options)
    if named := next((name for name in ("required_scopes", "required_trust") if options[name]), None):
        raise ConfigError(f"{named} without an authenticator: who calls would be nobody's word")
    return None


def metadata_of(document: Any) -> tuple[str, bytes] | None:
    """The path and the bytes of the document that says what this service is (RFC 9728)."""
    if document is None:
        return None
    resource = document.get("resource") if isinstance(document, Mapping) else None
    if not isinstance(resource, str) or "://" not in resource:
        raise ConfigError("resource_metadata must be a document with a 'resource': see identity.protected_resource")
    path = resource.partition("://")[2].partition("/")[2].rstrip("/")
    return f"{_METADATA}/{path}" if path else _METADATA, dump_json(dict(document))
