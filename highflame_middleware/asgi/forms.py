"""The text fields of forms, urlencoded and multipart: found, and written again with every other byte as it came.

What an application's parser makes of a form must be what was judged here. So whatever parsers are known to read in
more than one way (a boundary that does not begin a line, a parameter twice, an encoded part) is not read at all:
that is an `UnreadableError`. Parts with a ``filename`` are files, and pass; without one, or with an empty one, they
are fields.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias
from urllib.parse import quote_plus, unquote_to_bytes

from ..errors import UnreadableError

__all__ = ["Field", "Multipart", "Piece", "boundary_of", "read_urlencoded", "written"]

# Fields and parts of one form, and the bytes of one part's headers.
MAX_PARTS = 10_000
MAX_HEADERS = 16 * 1024

_BOUNDARY = re.compile(r"""boundary=(?:"([A-Za-z0-9'()+_,./:=? -]{1,70})"|([A-Za-z0-9'+_,./:=?-]{1,70}))""", re.I)
_PARAMETER = re.compile(r'\s*;\s*([A-Za-z0-9!#$&+.^_`|~*-]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s";,\\]*))')
_CHARSETS = frozenset({"", "utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "latin-1", "latin1", "windows-1252"})
_TOKEN = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_PLAINLY = frozenset({b"7bit", b"8bit", b"binary"})


@dataclass(frozen=True, slots=True)
class Field:
    """One text field, as it stands in a form."""

    name: str
    value: str = field(repr=False)
    raw: bytes = field(repr=False)
    write: Callable[[str], bytes] = field(repr=False)


Piece: TypeAlias = bytes | Field


def written(pieces: Iterable[Piece], values: Sequence[str]) -> bytes:
    """The form again, with these values in its fields; one that has not changed is written as it came."""
    out = bytearray()
    given = iter(values)
    for piece in pieces:
        if isinstance(piece, bytes):
            out += piece
        else:
            value = next(given)
            out += piece.raw if value == piece.value else piece.write(value)
    return bytes(out)


def read_urlencoded(content: bytes, covers: Callable[[str], bool]) -> list[Piece]:
    """A form as pieces: the fields that are meant, and the bytes between them.

    >>> pieces = read_urlencoded(b"a=1&prompt=Hi%2C+you", lambda name: name == "prompt")
    >>> pieces[0], pieces[1].value, written(pieces, ["Hello & bye"])
    (b'a=1&prompt=', 'Hi, you', b'a=1&prompt=Hello+%26+bye')
    """
    pairs = content.split(b"&", MAX_PARTS)
    if len(pairs) > MAX_PARTS:
        raise UnreadableError(f"The form has more than {MAX_PARTS} fields")
    pieces: list[Piece] = []
    between = bytearray()
    for index, pair in enumerate(pairs):
        if index:
            between += b"&"
        # Some parsers take this for a separator as well.
        if b";" in pair and any(covers(_decoded(part.partition(b"=")[0])[0]) for part in pair.split(b";")[1:]):
            raise UnreadableError("The form can be read in two ways: write ';' as %3B in it")
        name, equals, raw = pair.partition(b"=")
        called = _decoded(name)[0]
        if not raw or not covers(called):
            between += pair
            continue
        between += name + equals
        pieces.append(bytes(between))
        between.clear()
        value, charset = _decoded(raw)
        pieces.append(Field(called, value, raw, _quoting(charset)))
    pieces.append(bytes(between))
    return pieces


def _decoded(raw: bytes) -> tuple[str, str]:
    return _text_of(unquote_to_bytes(raw.replace(b"+", b" ")))


def _text_of(content: bytes) -> tuple[str, str]:
    try:
        return content.decode(), "utf-8"
    except UnicodeDecodeError:
        # No byte is lost in this one, and what is ASCII reads as it does in any other.
        return content.decode("latin-1"), "latin-1"


def _quoting(charset: str) -> Callable[[str], bytes]:
    return lambda value: quote_plus(value, encoding=charset, errors="replace").encode()


def _encoding(charset: str) -> Callable[[str], bytes]:
    return lambda value: value.encode(charset, "replace")


def boundary_of(content_type: bytes) -> bytes:
    """What the parts of a multipart form are told apart by.

    >>> boundary_of(b'multipart/form-data; boundary="a b"')
    b'a b'
    """
    parameters = content_type.decode("latin-1").partition(";")[2]
    found = _BOUNDARY.fullmatch(parameters.strip()) or _among(parameters)
    if found is None:
        raise UnreadableError("The form does not say where its parts begin: it needs one boundary in its type")
    boundary = (found[1] or found[2]).encode()
    if boundary.endswith(b" "):
        raise UnreadableError("The form's boundary ends with a space")
    return boundary


def _among(parameters: str) -> re.Match[str] | None:
    """The boundary among other parameters, where there is just one and the charset is none to wonder at."""
    parts = [part.strip() for part in parameters.split(";")]
    named = [part for part in parts if part.lower().startswith("boundary")]
    charsets = [part.partition("=")[2].strip('" ').lower() for part in parts if part.lower().startswith("charset")]
    if len(named) != 1 or not _CHARSETS.issuperset(charsets):
        return None
    return _BOUNDARY.fullmatch(named[0])


class Multipart:
    """Reads a multipart form as its bytes come: `feed` gives the pieces that are whole, files as they are.

    ``limit`` bounds, in bytes, the fields that are held until they are whole.
    With ``text_files`` files that say they are text are fields too.

    >>> form = b'--b\\r\\nContent-Disposition: form-data; name="prompt"\\r\\n\\r\\nHi!\\r\\n--b--\\r\\n'
    >>> reader = Multipart(b"b", lambda name: name == "prompt", limit=1000)
    >>> pieces = [*reader.feed(form[:20]), *reader.feed(form[20:]), *reader.finish()]
    >>> [piece.value for piece in pieces if isinstance(piece, Field)], written(pieces, ["Hi!"]) == form
    (['Hi!'], True)
    """

    def __init__(
        self, boundary: bytes, covers: Callable[[str], bool], *, limit: int, text_files: bool = False
    ) -> None:
        self._marker = b"--" + boundary
        self._covers, self._limit, self._text_files = covers, limit, text_files
        self._buffer = bytearray()
        self._looked = 0
        self._parts = 0
        # The name of the field whose value is being read; None where what is read passes as it is.
        self._field: str | None = None
        self._read: Callable[[list[Piece]], bool] = self._beginning

    def feed(self, content: bytes) -> list[Piece]:
        """Take some bytes."""
        self._buffer += content
        pieces: list[Piece] = []
        try:
            while self._read(pieces):
                pass
        except UnreadableError:
            # Nothing of it is lost to whoever lets it pass unread.
            self._buffer[:0] = b"".join(piece if isinstance(piece, bytes) else piece.raw for piece in pieces)
            raise
        return pieces

    def finish(self) -> list[Piece]:
        """What is left at the end."""
        if self._read != self._after:
            raise UnreadableError("The form ends in the middle of a part")
        rest = bytes(self._buffer)
        self._buffer.clear()
        return [rest]

    def give_up(self) -> bytes:
        """What has been held back, where it is to pass unread."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    # What is read next; each says whether it has got any further.

    def _beginning(self, pieces: list[Piece]) -> bool:
        start = 2 if self._buffer.startswith(b"\r\n") else 0
        if len(self._buffer) < start + len(self._marker) + 2:
            return False
        if not self._buffer.startswith(self._marker, start):
            raise UnreadableError("The form does not begin with a part")
        self._delimited(pieces, start + len(self._marker))
        return True

    def _delimited(self, pieces: list[Piece], end: int) -> None:
        """Go on behind a boundary that ends here."""
        follows = bytes(self._buffer[end : end + 2])
        if follows == b"--":
            self._read = self._after
        elif follows == b"\r\n":
            self._read = self._headers
        else:
            raise UnreadableError("The form has a line that only begins like a boundary")
        self._pass(pieces, end + 2)

    def _headers(self, pieces: list[Piece]) -> bool:
        end = self._buffer.find(b"\r\n\r\n", 0, MAX_HEADERS)
        if end < 0:
            if len(self._buffer) >= MAX_HEADERS:
                raise UnreadableError(f"A part of the form has more than {MAX_HEADERS} bytes of headers")
            return False
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise UnreadableError(f"The form has more than {MAX_PARTS} parts")
        block = bytes(self._buffer[:end])
        if self._marker in block:
            raise UnreadableError("The form has its boundary in the middle of a line")
        self._field = self._field_of(_headers_of(block))
        self._pass(pieces, end + 4)
        self._read = self._content
        return True

    def _field_of(self, headers: dict[bytes, bytes]) -> str | None:
        """The name of a part that is a field to be guarded."""
        parameters = _disposition_of(headers.get(b"content-disposition", b""))
        name = parameters["name"]
        kind = headers.get(b"content-type", b"").decode("latin-1").lower()
        # With an empty one it is a file to some parsers, and a field to others.
        if parameters.get("filename"):
            if not (self._text_files and kind.startswith(("text/", "application/json"))):
                return None
        elif not self._covers(name):
            return None
        if headers.get(b"content-transfer-encoding", b"8bit").lower() not in _PLAINLY:
            raise UnreadableError("A field of the form is encoded in a way that not every parser undoes")
        charset = re.search(r'charset="?([^\s";]*)', kind)
        if charset is not None and charset[1] not in _CHARSETS:
            raise UnreadableError("A field of the form is in a charset that is not read here: send UTF-8")
        return name

    def _content(self, pieces: list[Piece]) -> bool:
        buffer, marker = self._buffer, self._marker
        at = buffer.find(marker, self._looked)
        if at < 0 or len(buffer) < at + len(marker) + 2:
            # The beginning of a boundary may be at the end, and the line's end that belongs to it.
            kept = len(buffer) - len(marker) - 3 if at < 0 else at - 2
            if self._field is None:
                self._pass(pieces, max(0, kept))
            elif len(buffer) > self._limit:
                raise UnreadableError(f"A field of the form is longer than the {self._limit} bytes that are read")
            else:
                self._looked = max(0, kept)
            return False
        if buffer[max(0, at - 2) : at] != b"\r\n":
            raise UnreadableError("The form has its boundary in the middle of a line")
        if self._field is not None and at > 2:
            raw = bytes(buffer[: at - 2])
            if len(raw) > self._limit:
                raise UnreadableError(f"A field of the form is longer than the {self._limit} bytes that are read")
            value, charset = _text_of(raw)
            pieces.append(Field(self._field, value, raw, _encoding(charset)))
            del buffer[: at - 2]
            at = 2
        self._looked = 0
        self._delimited(pieces, at + len(marker))
        return True

    def _after(self, pieces: list[Piece]) -> bool:
        if self._buffer.strip():
            raise UnreadableError("The form goes on after its end")
        self._pass(pieces, len(self._buffer))
        return False

    def _pass(self, pieces: list[Piece], end: int) -> None:
        """Give on what is before ``end``."""
        if end:
            pieces.append(bytes(self._buffer[:end]))
            del self._buffer[:end]
        self._looked = 0


def _headers_of(block: bytes) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for line in block.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        name = name.lower()
        if not colon or not _TOKEN.fullmatch(name) or name in found or _CONTROL.search(line):
            raise UnreadableError("A part of the form has headers that cannot be read in one way only")
        found[name] = value.strip(b" \t")
    return found


def _disposition_of(value: bytes) -> dict[str, str]:
    """The parameters of a part's disposition; it must have a name, and say nothing twice."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = value.decode("latin-1")
    kind, _, _ = text.partition(";")
    rest = text[len(kind) :]
    found: dict[str, str] = {}
    at = 0
    while at < len(rest):
        parameter = _PARAMETER.match(rest, at)
        # Names in the extended notation are read by some parsers only; of a file's name nothing depends on it.
        if parameter is None or (name := parameter[1].lower()) in found or ("*" in name and name != "filename*"):
            break
        found[name] = parameter[2] if parameter[2] is not None else parameter[3]
        at = parameter.end()
    name = found.get("name", "\\")
    if kind.strip().lower() != "form-data" or rest[at:].strip() or "\\" in name or name != name.strip():
        raise UnreadableError("A part of the form does not say in one way only what it is called")
    return found
