"""Where a guarded text stands: its tool, model, file or MCP server, under the names of Shield's wire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["FileContext", "McpContext", "ModelContext", "ToolContext"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolContext:
    """The tool that a tool call or tool result belongs to. Arguments are not cleared text."""

    name: str
    is_builtin: bool = False
    arguments: Mapping[str, Any] = field(default_factory=dict, repr=False)
    description: str | None = field(default=None, repr=False)
    server_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelContext:
    """The model that a text goes to or comes from, and what the call has used: tokens, at most 1e9 each.

    ``input_tokens`` are the fresh ones, without what came out of a cache.
    """

    provider: str | None = None
    model: str | None = None
    temperature: float | None = None
    tokens_used: int | None = None
    max_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_1h_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FileContext:
    """The file that is read or written. ``size`` is in bytes; the level is one of public, internal,
    confidential and restricted."""

    path: str
    operation: str
    file_name: str | None = None
    file_extension: str | None = None
    mime_type: str | None = None
    size: int | None = None
    is_encrypted: bool | None = None
    is_rights_managed: bool | None = None
    mip_label_id: str | None = None
    mip_label_name: str | None = None
    sensitivity_level: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class McpContext:
    """The MCP server that offers a tool; ``transport`` is one of sse, stdio and http."""

    server_name: str
    server_url: str | None = None
    transport: str | None = None
    verified: bool | None = None
    capabilities: tuple[str, ...] = ()
