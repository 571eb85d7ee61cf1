"""What is decided about a call's way: where it goes, or that its gateway cannot take it there. Values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Detour", "Route"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """What to change of a request so that it goes to the gateway.

    ``headers`` are set and ``dropped`` removed, per request; ``unasked`` are
    parameters of the query that stay behind. ``bearer`` is the header whose
    value the gateway wants as ``Authorization: Bearer``, ``signed`` says that
    Amazon's signatures go along. ``universal`` stands between the base URL and
    the path. ``model`` is the model's name there, where it is another than the
    caller's. ``into`` names the format that the call is translated into, of whose
    API the path then is.
    """

    dialect: str
    base_url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    dropped: frozenset[str] = frozenset()
    unasked: frozenset[str] = frozenset()
    bearer: str | None = None
    signed: bool = False
    universal: str = ""
    model: str | None = None
    into: str | None = None

    @property
    def embedded(self) -> bool:
        """Whether the gateway is in this process: no socket, and a base URL that no resolver knows."""
        return self.dialect == "embedded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Detour:
    """A call that its gateway does not carry: it is for the settings to say whether it goes without one."""

    dialect: str
    format: str
