"""What has been ruled on in one run: a text is judged once, however often a crew's histories bring it again.

Texts are remembered by digests, which tell callers apart. Nothing is remembered of a guard that gave no verdict.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict, deque
from threading import Lock
from time import monotonic

from highflame_middleware import BlockedError
from highflame_middleware.caller import CallContext
from highflame_middleware.checkpoint import Ruling, Text, digest_of, rendered
from highflame_middleware.types import Stage

__all__ = ["Rulings", "key_of"]

_MOST = 4096  # texts
_FRESH = 600.0  # seconds: a guard's policies change
_REPLIES = 32


class Rulings:
    """The rulings of one run, for all its threads."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, tuple[float, Ruling, bool]] = OrderedDict()
        self._made: OrderedDict[bytes, float] = OrderedDict()
        self._replies: deque[str] = deque(maxlen=_REPLIES)
        self._lock = Lock()

    def find(self, text: Text, caller: CallContext, *, sent: bool = False) -> Ruling | None:
        """What was ruled on this text, if it was; ``sent``: it only stands in what a model is to read."""
        keys = [key_of(text, caller)]
        if text.stage is Stage.PROMPT and text.role == "assistant":
            # A reply that comes back in the history was judged when it was made.
            keys.append(key_of(text._replace(stage=Stage.RESPONSE), caller))
        with self._lock:
            if sent and monotonic() - self._made.get(keys[0], -_FRESH) < _FRESH:
                return Ruling()
            for key in keys:
                found = self._known.get(key)
                if found is not None and monotonic() - found[0] < _FRESH:
                    self._known.move_to_end(key)
                    return found[1]
        return None

    def keep(self, text: Text, caller: CallContext, ruling: Ruling, *, once: bool = False) -> None:
        """Remember a ruling, and that what an edit makes of the text may pass; ``once``: until it is spent."""
        if ruling.error is not None and not isinstance(ruling.error, BlockedError):
            return
        entries = [(key_of(text._replace(value=value), caller), then) for value, then in _after(text, ruling)]
        if text.stage is Stage.TOOL_RESULT and text.tool is not None:
            # A history does not say which tool it was.
            bare = text._replace(tool=None)
            entries += [(key_of(bare._replace(value=value), caller), then) for value, then in _after(bare, ruling)]
        with self._lock:
            for key, value in entries:
                self._known[key] = (monotonic(), value, once)
                self._known.move_to_end(key)
            while len(self._known) > _MOST:
                self._known.popitem(last=False)
            if text.stage in (Stage.RESPONSE, Stage.TOOL_CALL) and ruling.error is None:
                self._replies.append(ruling.text if ruling.text is not None else text.value)

    def spend(self, text: Text, caller: CallContext) -> None:
        """What this text was allowed by is used up, if it is good for one time; histories may go on to say it."""
        key = key_of(text, caller)
        with self._lock:
            found = self._known.get(key)
            if found is None or not found[2]:
                return
            del self._known[key]
            # Whatever comes of the next one: this one was made.
            self._made[key] = monotonic()
            while len(self._made) > _MOST:
                self._made.popitem(last=False)

    def said(self, text: str) -> bool:
        """Whether a text is a part of a reply that was cleared a short while ago."""
        with self._lock:
            replies = list(self._replies)
        return any(text in reply for reply in replies)


def key_of(text: Text, caller: CallContext) -> bytes:
    """What a ruling on this text is good for: the text where it stands, and the caller."""
    who = [caller.user, caller.role, caller.session, caller.account, caller.application]
    if caller.metadata:
        who.append(rendered(dict(caller.metadata)))
    if text.stage is Stage.TOOL_CALL:
        # The same arguments are written in several ways on their way from the model to the tool.
        what = digest_of(text.tool or "", _arguments(text.value))
    else:
        what = f"{text.tool}\0{text.value}"
    written = json.dumps([*who, text.stage.value, what])
    return hashlib.sha256(written.encode("utf-8", "surrogatepass")).digest()


def _after(text: Text, ruling: Ruling) -> list[tuple[str, Ruling]]:
    """The texts that are ruled on by a ruling: the one that it is about, and what that becomes."""
    return [(text.value, ruling), *([(ruling.text, Ruling())] if ruling.text is not None else [])]


def _arguments(written: str) -> object:
    try:
        return json.loads(written)
    except (ValueError, RecursionError):
        return written
