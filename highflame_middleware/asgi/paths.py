"""A value by path: literal paths and whole folders (``/chat``, ``/internal/*``), compiled once."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from typing import Any, Generic, TypeVar

from ..errors import ConfigError

__all__ = ["PathSet", "PathTable", "path_of"]

T = TypeVar("T")


def path_of(scope: Any) -> str:
    """The path that an application routes by: without what it is mounted at.

    >>> path_of({"path": "/api/chat", "root_path": "/api"}), path_of({"path": "/chat", "root_path": "/api"})
    ('/chat', '/chat')
    """
    path: str = scope["path"]
    root = scope.get("root_path")
    if root and path.startswith(root) and path[len(root) : len(root) + 1] in ("/", ""):
        return path[len(root) :] or "/"
    return path


class PathTable(Generic[T]):
    """Values by pattern: a literal path before a folder, a deeper folder before the one it is in.

    A path is looked up as most routers would take it: a slash at its end, doubled slashes and dots mean nothing.

    >>> table = PathTable("scopes", {"/tools/*": 1, "/tools/read": 2, "*": 3})
    >>> [table.get(path) for path in ("/tools/x", "/tools/read/", "//tools/../tools/read", "/tools", "/else")]
    [1, 2, 2, 1, 3]
    """

    __slots__ = ("_folders", "_literal")

    def __init__(self, name: str, given: Mapping[str, T]) -> None:
        if not isinstance(given, Mapping):
            raise ConfigError(f"{name} must be a table by path, such as {{'/chat': …}}")
        self._literal: dict[str, T] = {}
        folders: dict[str, T] = {}
        for pattern, value in given.items():
            folder = _folder_of(name, pattern)
            if folder is None:
                self._literal[_plain(pattern)] = value
            else:
                folders[folder] = value
        self._folders = tuple(sorted(folders.items(), key=lambda item: -len(item[0])))

    def __bool__(self) -> bool:
        return bool(self._literal or self._folders)

    def get(self, path: str) -> T | None:
        """The value for a path, or nothing."""
        path = _plain(path)
        if (found := self._literal.get(path)) is not None or not self._folders:
            return found
        path += "/"
        return next((value for folder, value in self._folders if path.startswith(folder)), None)


class PathSet:
    """Paths that something is not done for; only those that are meant beyond doubt are in it.

    >>> paths = PathSet("exclude_paths", ["/health", "/static/*"])
    >>> [path in paths for path in ("/health", "/static/a.css", "/healthy", "/health/", "/static/../chat")]
    [True, True, False, False, False]
    """

    __slots__ = ("_folders", "_literal")

    def __init__(self, name: str, given: Iterable[str]) -> None:
        if isinstance(given, str | Mapping) or not isinstance(given, Iterable):
            raise ConfigError(f"{name}={given!r} must be a list of paths, such as ['/static/*']")
        rows = [(pattern, _folder_of(name, pattern)) for pattern in given]
        self._literal = frozenset(pattern for pattern, folder in rows if folder is None)
        self._folders = tuple(folder for _, folder in rows if folder is not None)

    def __bool__(self) -> bool:
        return bool(self._literal or self._folders)

    def __contains__(self, path: str) -> bool:
        if path in self._literal:
            return True
        return bool(self._folders) and path.startswith(self._folders) and "//" not in path and "/." not in path


def _folder_of(name: str, pattern: Any) -> str | None:
    """What paths of a folder begin with; nothing for a literal path."""
    if not isinstance(pattern, str) or not (pattern.startswith("/") or pattern == "*") or "*" in pattern[:-1]:
        raise ConfigError(f"{name}: {pattern!r} is no path: give '/chat', '/internal/*' or '*'")
    if pattern == "*":
        return "/"
    if pattern.endswith("*") and not pattern.endswith("/*"):
        raise ConfigError(f"{name}: {pattern!r} ends in the middle of a name: give '/internal/*'")
    return pattern[:-1] if pattern.endswith("*") else None


def _plain(path: str) -> str:
    if "//" in path or "/." in path:
        path = "/" + posixpath.normpath(path).lstrip("/")
    return path.rstrip("/") or "/"
