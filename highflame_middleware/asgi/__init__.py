"""The ASGI door: the middleware in front of an application that talks to models."""

from .middleware import HighflameMiddleware

__all__ = ["HighflameMiddleware"]
