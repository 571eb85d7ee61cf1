"""The embedded gateway: the same pipeline as an ASGI app, mounted, served, or reached in-process with no socket."""

from .app import Gateway
from .providers import Scripted, Upstream

__all__ = ["Gateway", "Scripted", "Upstream"]
