"""Which argument of a function is the text to be guarded: settled when it is decorated, found when it is called."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable
from dataclasses import dataclass
from inspect import BoundArguments, Parameter, Signature
from typing import Annotated, Any, Union, get_args, get_origin

from ..errors import ConfigError

__all__ = ["Signed", "signed", "text_argument"]

_RECEIVERS = frozenset({"self", "cls", "mcs"})
_NAMED = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
# How an annotation that could not be evaluated says that it is a text.
_TEXT = re.compile(r"(typing\.)?(Optional\[str\]|str|(str\s*\|\s*None)|(None\s*\|\s*str))")


@dataclass(frozen=True, slots=True)
class Signed:
    """A function's parameters. ``receiver`` is the name of the first where that is the object or class itself."""

    name: str
    signature: Signature
    receiver: str | None

    def bind(self, args: tuple[Any, ...], given: dict[str, Any]) -> BoundArguments:
        """The arguments by name, defaults included; a `TypeError`, as of any call, where they do not fit."""
        bound = self.signature.bind(*args, **given)
        bound.apply_defaults()
        return bound

    @property
    def own(self) -> list[Parameter]:
        """The parameters that a caller writes."""
        return [item for item in self.signature.parameters.values() if item.name != self.receiver]


def signed(function: Callable[..., Any]) -> Signed:
    """A function's parameters, their annotations evaluated where they can be."""
    name = str(getattr(function, "__name__", type(function).__name__))
    try:
        try:
            signature = inspect.signature(function, eval_str=True)
        except Exception:  # noqa: BLE001 - names that only a type checker knows: then the words themselves will do
            signature = inspect.signature(function)
    except (TypeError, ValueError):
        raise ConfigError(f"{name} has no signature that can be read: decorate a function around it") from None
    first = next(iter(signature.parameters), None)
    return Signed(name, signature, first if first in _RECEIVERS and _is_method(function) else None)


def _is_method(function: Any) -> bool:
    """Whether a function stands in the body of a class."""
    above = str(getattr(function, "__qualname__", "")).rpartition(".")[0]
    return bool(above) and not above.endswith("<locals>")


def text_argument(found: Signed, content_arg: str | None) -> str:
    """The name of the argument to guard; a `ConfigError` where it is not there, or not the only one it could be.

    >>> def reply(tenant: str, message: str, limit: int = 3) -> str: ...
    >>> text_argument(signed(reply), "message")
    'message'
    >>> text_argument(signed(reply), None)
    Traceback (most recent call last):
    highflame_middleware.errors.ConfigError: reply takes several texts (tenant, message): say which is to be \
guarded with content_arg=
    """
    own = found.own
    if content_arg is not None:
        if content_arg not in [item.name for item in own if item.kind in _NAMED]:
            names = ", ".join(item.name for item in own) or "none at all"
            raise ConfigError(f"content_arg={content_arg!r} is no argument of {found.name}, which takes {names}")
        return content_arg
    named = [item for item in own if item.kind in _NAMED]
    texts = [item.name for item in named if _is_text(item.annotation)]
    texts = texts or [item.name for item in named if item.annotation is Parameter.empty]
    if len(texts) == 1:
        return texts[0]
    if not texts:
        raise ConfigError(f"{found.name} takes no text: say what is to be guarded with content_arg=")
    raise ConfigError(
        f"{found.name} takes several texts ({', '.join(texts)}): say which is to be guarded with content_arg="
    )


def _is_text(annotation: Any) -> bool:
    """Whether an annotation says ``str``, perhaps or None."""
    if isinstance(annotation, str):
        return _TEXT.fullmatch(annotation.strip().strip("'\"")) is not None
    if get_origin(annotation) is Annotated:
        return _is_text(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
        return bool(kinds) and all(_is_text(kind) for kind in kinds)
    return isinstance(annotation, type) and issubclass(annotation, str)
