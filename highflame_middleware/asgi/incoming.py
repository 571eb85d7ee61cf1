"""A request's body as texts: which of them are guarded, and the body again with others in their places.

By type and path: JSON in an API's format (by its path, declared, or by its shape), other JSON by selectors, forms
by the names of their fields, plain text as one text. What is none of these passes unread.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import anyio
import anyio.to_thread

from ..asgi_types import Message, Receive
from ..bodies import AmbiguousError, unambiguous
from ..caller import CallContext
from ..codecs import codec_for_body, codec_for_path, codec_for_shape, load_codec
from ..codecs.parts import CallRead, Codec, Text, dump_json
from ..errors import UnreadableError
from ..exchange import Call
from ..pipeline import read_call
from ..types import Stage
from .body import looks_like_json, read_body
from .forms import Field, Multipart, Piece, boundary_of, read_urlencoded, written
from .paths import PathTable
from .selectors import Selection

__all__ = ["Incoming", "Reading", "carries_body"]

# Formats of calls: an application under a path of its own may read the fields of any of them.
_CALLS = ("openai-chat", "openai-responses", "openai-completions")
# Where those formats keep what their codecs read, or what is no prose: selectors do not look there again.
_READ = frozenset(
    {
        "contents",
        "functions",
        "input",
        "instructions",
        "messages",
        "prompt",
        "response_format",
        "system",
        "tool_choice",
        "tools",
    }
)
_METHODS = frozenset({"POST", "PUT", "PATCH", "QUERY"})
_FORM, _MULTIPART, _TEXT = b"application/x-www-form-urlencoded", b"multipart/form-data", b"text/plain"
# The types that a JSON body comes under where its sender does not care: many applications read it all the same.
_CARELESS = frozenset({b"", _TEXT, _FORM})
# The charsets of plain text, as they are spelled. Any other is not read: an application that takes no notice of it
# would read another text, but for ASCII in these.
_CHARSETS: Mapping[str, str] = {
    "": "utf-8",
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "us-ascii": "utf-8",
    "ascii": "utf-8",
    "iso-8859-1": "latin-1",
    "latin-1": "latin-1",
    "windows-1252": "cp1252",
}
# Made once: `json.loads` would make one for each body.
_DECODER = json.JSONDecoder(object_pairs_hook=unambiguous)
# A body is read in a thread from so many bytes on: what is shorter is read before a thread would have begun.
_LARGE = 64 * 1024


def carries_body(scope: Any) -> bool:
    """Whether a request is of a kind that has a body to be read."""
    return scope["method"].upper() in _METHODS


@dataclass(frozen=True, slots=True)
class Incoming:
    """A request's body as far as it concerns us: a call with texts, one that cannot be read, or neither.

    ``messages`` are those in which it came, as far as it was read; ``whole`` says that nothing of it is to come.
    ``render`` writes it with what the texts have become. ``rest`` reads on in a form that is longer than what is
    read at once: its later fields are still to be judged.
    """

    call: Call
    messages: tuple[Message, ...] = ()
    whole: bool = False
    render: Callable[[Any], bytes] = dump_json
    rest: Multipart | None = None
    fault: UnreadableError | None = None
    status: int = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How bodies are read: ``limit`` in bytes, ``depth`` in levels, ``deadline`` in seconds for what is large."""

    limit: int
    depth: int
    deadline: float
    formats: PathTable[str]
    select: PathTable[Selection]
    fields: Selection
    plain_text: bool = True
    text_files: bool = False

    async def read(
        self, scope: Any, receive: Receive, head: Mapping[bytes, bytes], path: str, caller: CallContext
    ) -> Incoming:
        """Read a request's body as far as it has to be."""
        nothing = Call(provider="openai", method=scope["method"], path=scope["path"], caller=caller)
        if not carries_body(scope):
            return Incoming(nothing)
        content_type = head.get(b"content-type", b"")
        kind = content_type.partition(b";")[0].strip().lower()
        if any(value != content_type and name.lower() == b"content-type" for name, value in scope["headers"]):
            return Incoming(nothing, fault=UnreadableError("The body is said to be of two types: send one"))
        declared = kind == b"application/json" or kind.endswith(b"+json") or self.formats.get(path) is not None
        one = _Request(self, scope, path, caller, self.select.get(path), content_type)
        if kind == _MULTIPART and not declared:
            if not one.selection and not self.text_files:
                return Incoming(nothing)
            return await self._multipart(one, nothing, receive)
        if not declared and kind not in _CARELESS and codec_for_path(scope["path"]) is None:
            return Incoming(nothing)
        bare = bool((kind == _FORM and one.selection) or (kind == _TEXT and self.plain_text))
        read = await read_body(receive, self.limit, only_json=not declared and not bare)
        seen = Incoming(nothing, read.messages, whole=read.content is not None)
        if read.too_large:
            return replace(seen, fault=self._too_long(), status=413)
        if not (content := read.content):
            return seen
        parse = partial(one.parse, content, kind, declared=declared, bare=bare)
        found = await self._at_leisure(len(content), parse)
        if isinstance(found, UnreadableError):
            return replace(seen, fault=found)
        if found is None:
            return seen
        call, render = found
        return replace(seen, call=call, render=render)

    async def _multipart(self, one: _Request, nothing: Call, receive: Receive) -> Incoming:
        read = await read_body(receive, self.limit)
        whole = not (read.too_large and read.messages[0]["more_body"])
        seen = Incoming(nothing, read.messages, whole=whole and (read.too_large or read.content is not None))
        content = read.messages[0]["body"] if read.too_large else read.content
        if not content:
            return seen

        def parse() -> tuple[Multipart, list[Piece]]:
            boundary = boundary_of(one.content_type)
            reader = Multipart(boundary, one.selection.covers, limit=self.limit, text_files=self.text_files)
            pieces = reader.feed(content)
            return reader, [*pieces, *reader.finish()] if whole else pieces

        found = await self._at_leisure(len(content), parse)
        if isinstance(found, UnreadableError):
            return replace(seen, fault=found)
        reader, pieces = found
        values = [piece.value for piece in pieces if isinstance(piece, Field)]
        if not values and whole:
            return seen
        return replace(seen, call=one.bare(values), render=partial(written, pieces), rest=None if whole else reader)

    async def write(self, incoming: Incoming, body: Any) -> bytes:
        """The body again, with what its texts have become."""
        size = sum(len(message.get("body", b"")) for message in incoming.messages)
        found = await self._at_leisure(size, partial(incoming.render, body))
        if isinstance(found, UnreadableError):
            raise found
        return bytes(found)

    async def _at_leisure(self, size: int, work: Callable[[], Any]) -> Any:
        """Do some work; in a thread where it is much, that the loop may go on. An `UnreadableError` is returned."""
        try:
            if size < _LARGE:
                return work()
            with anyio.fail_after(self.deadline):
                return await anyio.to_thread.run_sync(work, abandon_on_cancel=True)
        except UnreadableError as error:
            return error
        except TimeoutError:
            return UnreadableError(f"The body took longer than {self.deadline:g} s to be read (setting: deadline)")

    def _too_long(self) -> UnreadableError:
        return UnreadableError(f"The body is longer than the {self.limit} bytes that are read to be guarded")


_Parsed: TypeAlias = "tuple[Call, Callable[[Any], bytes]] | None"


@dataclass(frozen=True, slots=True)
class _Request:
    """One request whose body is read, and what is known of it."""

    how: Reading
    scope: Any
    path: str
    caller: CallContext
    chosen: Selection | None
    content_type: bytes

    @property
    def selection(self) -> Selection:
        return self.chosen if self.chosen is not None else self.how.fields

    def parse(self, content: bytes, kind: bytes, *, declared: bool, bare: bool) -> _Parsed:
        """The call that a body makes, and how it is written again; None where nothing of it is to be judged."""
        if declared or looks_like_json(content):
            call = self._json(content, declared=declared, throughout=bare and kind == _TEXT)
            if call is not None or declared:
                return (call, dump_json) if call is not None else None
        if not bare:
            return None
        if kind == _TEXT:
            charset = _CHARSETS.get(_charset_of(self.content_type))
            if charset is None:
                raise UnreadableError("The body is in a charset that is not read here: send UTF-8")
            try:
                text = content.decode(charset)
            except UnicodeDecodeError:
                raise UnreadableError(f"The body is not {charset}, which it is said to be") from None
            return self.bare([text]), lambda body: body[0].encode(charset, "replace")
        pieces = read_urlencoded(content, self.selection.covers)
        values = [piece.value for piece in pieces if isinstance(piece, Field)]
        return (self.bare(values), partial(written, pieces)) if values else None

    def bare(self, values: list[str]) -> Call:
        """The call that texts make which stand in no JSON."""

        def read(body: Any) -> CallRead:
            texts = (Text((index,), value, Stage.PROMPT) for index, value in enumerate(body) if value)
            return CallRead(None, stream=False, texts=tuple(texts))

        return self._read(replace(load_codec("any-json"), read_call=read), values)

    def _json(self, content: bytes, *, declared: bool, throughout: bool) -> Call | None:
        """The call that a JSON body makes; None where it is no JSON after all, or no call."""
        try:
            body = _DECODER.decode(content.decode(json.detect_encoding(content), "surrogatepass"))
        except (ValueError, RecursionError) as error:
            if not declared and not isinstance(error, RecursionError | AmbiguousError):
                return None
            raise UnreadableError("The body is not JSON that can be read in one way only") from None
        if content.count(b"[") + content.count(b"{") > self.how.depth and _deeper(body, self.how.depth):
            raise UnreadableError(f"The body is nested more than {self.how.depth} levels deep")
        codec = self._codec(body)
        if throughout:
            # Sent as text: the application may take all of it for one.
            everything = load_codec("any-json")
            codec = everything if codec is None else _beside(codec, everything.read_call)
        return self._read(codec, body) if codec is not None else None

    def _read(self, codec: Codec, body: Any) -> Call:
        return read_call(
            provider=codec.provider,
            method=self.scope["method"],
            path=self.scope["path"],
            codec=codec,
            body=body,
            caller=self.caller,
        )

    def _codec(self, body: Any) -> Codec | None:
        """How a JSON body is read: as its API says, or as the selectors say, or both."""
        named = self.how.formats.get(self.path)
        if named is not None:
            declared = load_codec(named)
            return _beside(declared, self.chosen.call) if self.chosen is not None else declared
        codec = codec_for_path(self.scope["path"]) or codec_for_shape(body)
        if codec is not None:
            codec = _widened(codec_for_body(codec, self.scope["path"], body))
            return _beside(codec, self.chosen.call) if self.chosen is not None else _further(codec, self.how.fields)
        texts = self.selection.read(body)
        if not texts and self.chosen is None:
            return None
        return replace(load_codec("any-json"), read_call=lambda _: CallRead(None, stream=False, texts=texts))


def _widened(codec: Codec) -> Codec:
    """The codec, reading the texts of calls in every format: which of them the application reads is not known."""

    def read_call(body: Any) -> CallRead:
        read = codec.read_call(body)
        others = (load_codec(name) for name in _CALLS if name != codec.name)
        return _with(read, (text for other in others for text in other.read_call(body).texts))

    return replace(codec, read_call=read_call)


def _beside(codec: Codec, other: Callable[[Any], CallRead]) -> Codec:
    """The codec, and what another way of reading finds."""

    def read_call(body: Any) -> CallRead:
        return _with(codec.read_call(body), other(body).texts)

    return replace(codec, read_call=read_call)


def _further(codec: Codec, fields: Selection) -> Codec:
    """The codec, and the fields of the application's own that stand beside those of the format."""

    def read_call(body: Any) -> CallRead:
        read = codec.read_call(body)
        known = _READ.union(text.path[0] for text in read.texts if text.path)
        if not isinstance(body, dict) or known.issuperset(body):
            return read
        return _with(read, fields.read({key: value for key, value in body.items() if key not in known}))

    return replace(codec, read_call=read_call)


def _with(read: CallRead, more: Iterable[Text]) -> CallRead:
    texts: dict[Any, Text] = {text.path: text for text in read.texts}
    for text in more:
        texts.setdefault(text.path, text)
    return replace(read, texts=tuple(texts.values()))


def _deeper(body: Any, depth: int) -> bool:
    """Whether something stands more than ``depth`` levels deep."""
    level = [body] if isinstance(body, dict | list) else []
    for _ in range(depth):
        if not level:
            return False
        below = (child for node in level for child in (node.values() if isinstance(node, dict) else node))
        level = [child for child in below if isinstance(child, dict | list)]
    return bool(level)


def _charset_of(content_type: bytes) -> str:
    for part in content_type.decode("latin-1").split(";")[1:]:
        name, _, value = part.partition("=")
        if name.strip().lower() == "charset":
            return value.strip(' "').lower()
    return ""
