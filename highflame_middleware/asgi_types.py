"""ASGI's types, such that apps written against asgiref's and apps written against Starlette's both fit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from asgiref import typing as asgiref

__all__ = ["App", "Message", "Receive", "Scope", "Send"]

Message: TypeAlias = MutableMapping[str, Any]
Scope: TypeAlias = "MutableMapping[str, Any] | asgiref.Scope"
Receive: TypeAlias = Callable[[], Awaitable[Any]]
Send: TypeAlias = Callable[[Any], Awaitable[None]]
App: TypeAlias = "Callable[[Any, Any, Any], Awaitable[None]] | asgiref.ASGI3Application"
