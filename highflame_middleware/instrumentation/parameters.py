"""The parameters of an AWS operation as the wire JSON that botocore will make of them, and the way back."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from ..bodies import unambiguous
from ..codecs.parts import dump_json, rewrite
from ..errors import UnreadableError

__all__ = ["Parameters"]

# Where an operation takes JSON that is written already: a model's own body.
_WRITTEN: Mapping[str, tuple[str, ...]] = {
    "InvokeModel": ("body",),
    "InvokeModelWithResponseStream": ("body",),
    "CountTokens": ("input", "invokeModel", "body"),
}
_PLACE = re.compile(r"\{([^}+]+)\+?\}")


class Parameters:
    """What one call of an operation was given. ``operation`` is botocore's model of it."""

    def __init__(self, operation: Any, given: Mapping[str, Any]) -> None:
        self._operation, self._given = operation, given
        self._place = _WRITTEN.get(operation.name, ())
        self._content: bytes | None = None

    @property
    def path(self) -> str:
        """The path that the call will have, as botocore encodes it; without its query."""
        named = {}
        for name, member in self._members.items():
            if member.serialization.get("location") == "uri":
                named[member.serialization.get("name", name)] = str(self._given.get(name, ""))
        uri = str(self._operation.http.get("requestUri", "/")).partition("?")[0]
        return _PLACE.sub(lambda match: quote(named.get(match[1], ""), safe="-._~"), uri)

    def read(self) -> Any:
        """The JSON of the body; what was given as a file is read here, once."""
        if len(self._place) == 1:
            return self._parsed(self._given.get(self._place[0]))
        body = {name: value for name, value in self._given.items() if not self._elsewhere(name)}
        written = _at(body, self._place) if self._place else None
        return body if written is None else rewrite(body, {self._place: self._parsed(written)})

    def unchanged(self) -> Mapping[str, Any]:
        """What to call the operation with where nothing is to be changed: what was a file is none any more."""
        return self._given if self._content is None else rewrite(self._given, {self._place: self._content})

    def changed(self, body: Any) -> Mapping[str, Any]:
        """What to call the operation with so that it sends this JSON."""
        if len(self._place) == 1:
            return {**self._given, self._place[0]: dump_json(body)}
        if self._place and (written := _at(body, self._place)) is not None:
            body = rewrite(body, {self._place: dump_json(written)})
        return {**self._given, **body}

    @property
    def _members(self) -> Mapping[str, Any]:
        shape = self._operation.input_shape
        return shape.members if shape is not None else {}

    def _elsewhere(self, name: str) -> bool:
        """Whether a parameter is sent in the path, the query or a header."""
        member = self._members.get(name)
        return member is not None and "location" in member.serialization

    def _parsed(self, content: Any) -> Any:
        if content is None:
            return None
        if callable(read := getattr(content, "read", None)):
            content = read()
            self._content = content.encode() if isinstance(content, str) else content
        try:
            return json.loads(content, object_pairs_hook=unambiguous)
        except (TypeError, ValueError, RecursionError):
            raise UnreadableError(
                f"The body of the call of {self._operation.name} is not JSON, or names a key twice: "
                "it could not be guarded"
            ) from None


def _at(body: Any, place: tuple[str, ...]) -> Any:
    for key in place:
        body = body.get(key) if isinstance(body, dict) else None
    return body
