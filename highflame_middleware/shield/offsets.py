"""Positions in a text: characters in this process, UTF-8 bytes on Shield's wire."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["Positions"]


class Positions:
    """The way between the characters of one text and its bytes; each way costs one pass over the text.

    A byte inside a character stands for no place between two: as the beginning of a
    span it is the character's beginning, as its end the character's end, so that a
    redaction never leaves half a character behind. Half a surrogate pair, which UTF-8
    has no bytes for, counts as what replaces it on the wire: three bytes.

    >>> positions = Positions("né!")
    >>> positions.characters([(1, 3)]), positions.characters([(2, 2)]), positions.characters([(0, 9)])
    ([(1, 2)], [(1, 2)], None)
    >>> positions.octets([(1, 2)])
    [(1, 3)]
    """

    __slots__ = ("_raw", "_text")

    def __init__(self, text: str) -> None:
        self._text = text
        self._raw = text.encode("utf-8", "surrogatepass")

    def characters(self, spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]] | None:
        """The spans in characters; nothing where one lies outside the text or ends before it begins."""
        raw = self._raw
        given = list(spans)
        if any(not 0 <= start <= end <= len(raw) for start, end in given):
            return None
        if len(raw) == len(self._text):
            return given
        widened = [(self._back(start), self._on(end)) for start, end in given]
        at: dict[int, int] = {}
        done = count = 0
        for place in sorted({place for span in widened for place in span}):
            count += len(raw[done:place].decode("utf-8", "surrogatepass"))
            at[place] = count
            done = place
        return [(at[start], at[end]) for start, end in widened]

    def octets(self, spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
        """The spans in bytes."""
        given = list(spans)
        if len(self._raw) == len(self._text):
            return given
        at: dict[int, int] = {}
        done = count = 0
        for place in sorted({place for span in given for place in span}):
            count += len(self._text[done:place].encode("utf-8", "surrogatepass"))
            at[place] = count
            done = place
        return [(at[start], at[end]) for start, end in given]

    def holds(self, span: tuple[int, int], written: str) -> bool:
        """Whether these bytes of the text are ``written``."""
        return self._raw[span[0] : span[1]] == written.encode("utf-8", "surrogatepass")

    def _back(self, place: int) -> int:
        while place < len(self._raw) and self._raw[place] & 0xC0 == 0x80:
            place -= 1
        return place

    def _on(self, place: int) -> int:
        while place < len(self._raw) and self._raw[place] & 0xC0 == 0x80:
            place += 1
        return place
