"""Where policies come from: files that may change, and the templates that highflame-policy brings along."""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from ..errors import ConfigError
from . import schema
from .compiled import Source
from .statements import MAX_CHARS

__all__ = ["BASELINE", "DEFAULTS", "PROFILES", "Snapshot", "snapshot_of", "stamp_of", "templates"]

#: The template that permits whatever no other policy forbids.
BASELINE: Final = "organization.permit-baseline"

#: The templates that `PolicySet.default` begins with.
DEFAULTS: Final = (
    BASELINE,
    "data-protection.defaults",
    "security.injection",
    "privacy.defaults",
    "privacy.pii-model",
    "trust-safety.toxicity",
    "agent-security.tool-risk",
    "agent-security.malicious-package",
    "agent-security.defaults",
    "security.patterns",
    "trust-safety.semantic",
    "agent-identity.defaults",
)

#: Templates that belong together, by what is to be protected.
PROFILES: Final[dict[str, tuple[str, ...]]] = {
    "chat_assistant": ("security.chat-assistant", "trust-safety.chat-assistant"),
    "code_agent": (
        "data-protection.code-block-write-secrets",
        "security.code-agent-encoding",
        "security.code-agent-path-security",
        "agent-security.code-agent",
        "agent-security.code-agent-supply-chain",
    ),
    "data_pipeline": (
        "data-protection.data-pipeline",
        "security.data-pipeline-block-injection",
        "agent-security.data-pipeline",
    ),
    "multi_agent": ("agent-identity.multi-agent-trust", "agent-identity.multi-agent-safety"),
    "a2a_security": (
        "agent-identity.a2a-cross-origin",
        "agent-identity.a2a-inter-agent-injection",
        "agent-identity.a2a-supply-chain",
        "agent-identity.a2a-identity-enforcement",
        "agent-identity.a2a-escalation",
    ),
    "advanced_detection": ("data-protection.advanced-secrets", "privacy.advanced-pii"),
    "output_protection": (
        "privacy.output-protection",
        "trust-safety.output-protection",
        "security.output-block-injection-carried-back",
        "data-protection.output-block-secrets",
    ),
}

_MAX_FILES = 256
_MAX_ENTRIES = 10_000  # of a directory, of whatever kind


def templates(ids: Iterable[str]) -> list[Source]:
    """The templates of these ids, as the installed highflame-policy has them; an unknown id is a `ConfigError`."""
    known = {template.id: template.cedar_text for template in schema.templates().GUARDRAILS_TEMPLATES}
    sources = []
    for id_ in dict.fromkeys(ids):
        if id_ not in known:
            raise ConfigError(
                f"the installed highflame-policy has no template {id_!r}; it has: {', '.join(sorted(known))}"
            )
        sources.append(Source(f"highflame-policy/{id_}", known[id_]))
    return sources


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Files as they were when they were read, and a digest of what is in them."""

    sources: tuple[Source, ...]
    digest: str


def stamp_of(paths: Sequence[Path]) -> tuple[tuple[str, int, int, int], ...]:
    """What tells that files have changed, without reading them; OSError where one is gone."""
    found = []
    for path in _files(paths):
        status = path.stat()
        found.append((str(path), status.st_mtime_ns, status.st_size, status.st_ino))
    return tuple(found)


def snapshot_of(paths: Sequence[Path]) -> Snapshot:
    """Read the files, and the ``.cedar`` files of the directories; what cannot be read is a `ConfigError`."""
    sources, left = [], MAX_CHARS
    digest = hashlib.sha256()
    for path in _files(paths):
        text = _read(path, left)
        left -= len(text)
        sources.append(Source(str(path), text))
        digest.update(b"%d:" % len(text) + text.encode())
    return Snapshot(tuple(sources), digest.hexdigest())


def _files(paths: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        entries = list(islice(path.iterdir(), _MAX_ENTRIES + 1))
        found = sorted(entry for entry in entries if entry.suffix == ".cedar")
        if len(entries) > _MAX_ENTRIES or not found:
            raise ConfigError(f"{path} is no directory of policies: it holds {len(found)} .cedar files")
        files += found
    if len(files) > _MAX_FILES:
        raise ConfigError(f"there are {len(files)} policy files: at most {_MAX_FILES} are read")
    return files


def _read(path: Path, limit: int) -> str:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ConfigError(f"{path} is no file")
        with path.open("rb") as file:
            content = file.read(4 * limit + 1)
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is no text in UTF-8: byte {error.start} cannot be read") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or type(error).__name__}") from None
    if len(text) > limit:
        raise ConfigError(f"{path} is too long: at most {MAX_CHARS} characters of policies are read")
    return text
