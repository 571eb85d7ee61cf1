"""What kind of media a part is, where its format does not say but another wants to know."""

from __future__ import annotations

import base64
import binascii
import mimetypes

from .conversation import MediaPart
from .translator import UntranslatableError

__all__ = ["common_base64", "decoded_text", "encoded_text", "kind_of", "mime_of", "without_parameters"]

# How the base64 of a file begins that says itself what it is.
_BEGINNINGS = {
    "iVBORw0KGgo": "image/png",
    "/9j/": "image/jpeg",
    "R0lGOD": "image/gif",
    "UklGR": "image/webp",
    "JVBERi0": "application/pdf",
}
# Part of what machines know of file endings, which differs between them.
_ENDINGS = {".webp": "image/webp", ".md": "text/markdown", ".csv": "text/csv", ".flac": "audio/flac"}


def kind_of(mime_type: str | None) -> str:
    """The kind of media that a type is.

    >>> kind_of("image/png"), kind_of("application/pdf"), kind_of(None)
    ('image', 'document', 'document')
    """
    kind = (mime_type or "").partition("/")[0].lower()
    return kind if kind in ("image", "audio", "video") else "document"


def without_parameters(mime_type: str) -> str:
    """A media type by itself, in lower case.

    >>> without_parameters("Audio/L16;rate=24000")
    'audio/l16'
    """
    return mime_type.partition(";")[0].strip().lower()


def mime_of(part: MediaPart) -> str:
    """The media type of a part: as given, by how its bytes begin, or by how its name or address ends."""
    if part.mime_type:
        return part.mime_type
    for beginning, mime_type in _BEGINNINGS.items():
        if part.data is not None and part.data.startswith(beginning):
            return mime_type
    for name in (part.name, part.url):
        path = (name or "").partition("?")[0].partition("#")[0].lower()
        found = next((mime for ending, mime in _ENDINGS.items() if path.endswith(ending)), None)
        if found := found or mimetypes.guess_type(path)[0]:
            return found
    raise UntranslatableError(f"it is not known what type of {part.kind} one is")


def common_base64(data: str) -> str:
    """Base64 in the common alphabet, with its padding: Google's client writes that of addresses.

    >>> common_base64("-_8")
    '+/8='
    """
    data = data.replace("-", "+").replace("_", "/")
    return data + "=" * (-len(data) % 4)


def encoded_text(text: str) -> str:
    """A text as the base64 of its UTF-8."""
    return base64.b64encode(text.encode("utf-8", "surrogatepass")).decode("ascii")


def decoded_text(data: str) -> str:
    """The text that base64 is of."""
    try:
        return base64.b64decode(data, validate=True).decode("utf-8", "surrogatepass")
    except (binascii.Error, ValueError):
        raise UntranslatableError("a document that should be text is none") from None
