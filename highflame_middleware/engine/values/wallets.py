"""Keys and addresses of crypto-currencies: told by their alphabets, proven by the hashes that they end in."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterator, Sequence

from .finding import Finding
from .secrets import starts_token

__all__ = ["find", "is_base58", "is_bech32"]

_SHORTEST = 26
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_CONSTANTS = frozenset({1, 0x2BC830A3})  # of bech32, and of bech32m for what came after
_CANDIDATES = (
    r"(?:0x[0-9A-Fa-f]{40}|bc1[02-9ac-hj-np-z]{11,71}|BC1[02-9AC-HJ-NP-Z]{11,71}"
    r"|[13][1-9A-HJ-NP-Za-km-z]{25,34}|[5KL][1-9A-HJ-NP-Za-km-z]{50,51})(?![A-Za-z0-9])"
)


def find(text: str, start: int, words: Sequence[str]) -> Iterator[Finding]:
    """The wallets of a folded text from ``start`` on; ``words`` are the long ones in it.

    >>> address = "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"
    >>> [found.type for found in find("to " + address, 0, [address])]
    ['bitcoin_address']
    """
    candidates = _compiled(_CANDIDATES)
    lower = _compiled(r"[a-z-]*")
    if any(len(word) >= _SHORTEST and not lower.fullmatch(word) and candidates.search(word) for word in words):
        for found in candidates.finditer(text, start):
            if starts_token(text, found.start()) and (type_ := _type_of(found.group())):
                yield Finding(*found.span(), type_)


def _type_of(value: str) -> str | None:
    if value.startswith("0x"):
        return "ethereum_address"
    if value[:3] in {"bc1", "BC1"}:
        return "bitcoin_address" if is_bech32(value.lower()) else None
    return ("bitcoin_address" if value[0] in "13" else "bitcoin_private_key") if is_base58(value) else None


def is_base58(value: str) -> bool:
    """Whether the last four bytes of a number in base 58 are the hash of those before them.

    >>> is_base58("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"), is_base58("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb")
    (True, False)
    """
    number = 0
    for character in value:
        number = number * 58 + _BASE58.index(character)
    size = 25 if value[0] in "13" else 37 if value[0] == "5" else 38
    if number.bit_length() > 8 * size:
        return False
    content = number.to_bytes(size, "big")
    return hashlib.sha256(hashlib.sha256(content[:-4]).digest()).digest()[:4] == content[-4:]


def is_bech32(value: str) -> bool:
    """Whether an address of Bitcoin's in bech32, in lower case, has the right check digits (BIP 173, 350).

    >>> is_bech32("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4")
    True
    """
    prefix, _, digits = value.partition("1")
    check = 1
    expanded = [*(ord(one) >> 5 for one in prefix), 0, *(ord(one) & 31 for one in prefix)]
    for digit in (*expanded, *(_BECH32.index(one) for one in digits)):
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ digit
        for bit, generator in enumerate(_GENERATOR):
            if top >> bit & 1:
                check ^= generator
    return check in _CONSTANTS


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.ASCII)
