"""The gateway's providers as configuration, and which of them takes a call. Pure."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from ..errors import ConfigError
from ..types import Secret

__all__ = ["Choice", "Provider", "Scripted", "Upstream", "choose_provider", "read_providers"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """An OpenAI-compatible API.

    ``base_url`` is what an OpenAI client would be given. Without ``api_key``
    the caller's own credentials go along; with it they are replaced.
    ``timeout`` is for the first byte and for each pause after it, in seconds.
    """

    base_url: str
    api_key: Secret | None = None
    timeout: float = 600.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "base_url", _read_url(self.base_url))
        object.__setattr__(self, "api_key", _read_key(self.api_key))
        timeout = self.timeout
        if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout <= 3600:
            raise ConfigError(f"timeout={timeout!r} of a provider must be above 0 and at most 3600 seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scripted:
    """A provider that answers from scripts: of a JSON file, or given as data (see docs/gateway.md)."""

    scripts: tuple[Mapping[str, Any], ...] = field(repr=False)


Provider: TypeAlias = Upstream | Scripted


@dataclass(frozen=True, slots=True)
class Choice:
    """The provider of a call; ``model`` where the name that was asked for had the provider's before it."""

    name: str
    provider: Provider
    model: str | None = None


def choose_provider(
    providers: Mapping[str, Provider], default: str | None, *, named: str | None, model: str | None
) -> Choice | None:
    """Which provider takes a call: the one named by header, by ``provider/model``, or the default.

    >>> local = Upstream(base_url="http://localhost:11434/v1")
    >>> choose_provider({"local": local}, None, named=None, model="local/llama3").model
    'llama3'
    """
    if named is not None:
        return Choice(named, providers[named]) if named in providers else None
    prefix, slash, rest = (model or "").partition("/")
    if slash and prefix in providers:
        return Choice(prefix, providers[prefix], rest)
    return Choice(default, providers[default]) if default is not None else None


def read_providers(table: Mapping[str, Any]) -> dict[str, Provider]:
    """Providers from a settings table; anything unclear is a `ConfigError`.

    A row is an `Upstream`, a `Scripted`, or a mapping: ``base_url`` with
    ``api_key_env`` or ``api_key`` and ``timeout``, or ``scripts``, a path or a list.
    """
    return {name: _read_provider(name, row) for name, row in table.items()}


def _read_provider(name: str, row: Any) -> Provider:
    if not isinstance(name, str) or not re.fullmatch(r"[!-.0-~]+", name):
        raise ConfigError(f"provider {name!r}: callers write its name in a header and before a slash: use others")
    if isinstance(row, Scripted):
        return Scripted(scripts=_read_scripts(name, row.scripts))
    if isinstance(row, Upstream):
        return row
    if not isinstance(row, Mapping):
        raise ConfigError(f"provider {name!r} must be a table with base_url or scripts")
    unknown = set(row) - {"base_url", "api_key", "api_key_env", "timeout", "scripts"}
    if unknown:
        raise ConfigError(
            f"provider {name!r}: unknown setting {', '.join(map(repr, sorted(unknown)))}; "
            "known are base_url, api_key, api_key_env, timeout, scripts"
        )
    if ("base_url" in row) == ("scripts" in row):
        raise ConfigError(f"provider {name!r} needs either base_url or scripts")
    if "scripts" in row:
        if len(row) > 1:
            raise ConfigError(f"provider {name!r} answers from scripts: it needs no other setting")
        return Scripted(scripts=_read_scripts(name, row["scripts"]))
    key = row.get("api_key")
    if "api_key_env" in row:
        if "api_key" in row:
            raise ConfigError(f"provider {name!r}: give api_key or api_key_env, not both")
        key = os.environ.get(str(row["api_key_env"]))
        if not key:
            raise ConfigError(f"provider {name!r}: the environment has no {row['api_key_env']}")
    try:
        return Upstream(base_url=row["base_url"], api_key=key, timeout=row.get("timeout", 600.0))
    except ConfigError as error:
        raise ConfigError(f"provider {name!r}: {error}") from None


def _read_url(value: Any) -> str:
    try:
        parts = urlsplit(value if isinstance(value, str) else "")
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"base_url={value!r} of a provider must begin with http:// or https:// and name a host")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ConfigError("base_url of a provider must be a plain one, without credentials, query or fragment")
    return str(value).rstrip("/")


def _read_key(value: Any) -> Secret | None:
    if value is None:
        return None
    key = value.reveal() if isinstance(value, Secret) else value
    if not isinstance(key, str) or not re.fullmatch(r"[!-~]+", key.strip()):
        raise ConfigError("api_key of a provider must be printable ASCII without spaces, and not empty")
    return Secret(key.strip())


def _read_scripts(name: str, value: Any) -> tuple[Mapping[str, Any], ...]:
    import json  # noqa: PLC0415 - only where there are scripts

    if isinstance(value, str | os.PathLike):
        try:
            value = json.loads(Path(value).read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"provider {name!r}: the scripts {str(value)!r} cannot be read: {error}") from error
    if isinstance(value, Mapping):
        value = value.get("scripts")
    if not isinstance(value, list | tuple) or not all(isinstance(item, Mapping) for item in value):
        raise ConfigError(f"provider {name!r}: scripts must be a list of tables, or a JSON file that holds one")
    from .scripted import check_script  # noqa: PLC0415

    for number, script in enumerate(value):
        check_script(f"provider {name!r}, script {number}", script)
    return tuple(value)
