"""Guarding functions instead of calls: `Shield`, whose decorators judge what goes into a function or comes out."""

from .guards import Shield

__all__ = ["Shield"]
