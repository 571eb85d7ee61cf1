"""A classifier of the user's own as a guard: an ONNX sequence classifier with its tokenizer (the extra ``ml``)."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from time import perf_counter
from typing import Any

from .. import extras
from ..errors import ConfigError, GuardError
from ..types import Decision, GuardRequest, GuardResponse, Signal, Stage
from .normal import fold
from .readers.table import OWN_ROLES

__all__ = ["OnnxClassifier"]

_RUNTIME = ("onnxruntime", "onnxruntime>=1.18")
_TOKENIZERS = ("tokenizers", "tokenizers>=0.20")
_NUMPY = ("numpy", "numpy>=1.26")
_INPUTS = frozenset({"input_ids", "attention_mask", "token_type_ids"})


class OnnxClassifier:
    """Denies a text of which any window is, with enough certainty, one of the classes that are named.

    Meant to stand behind the embedded guard: ``EscalatingGuard(EmbeddedGuard(), to=OnnxClassifier(…))``. A text
    is folded first, as the engine reads it. It is cut into windows as long as the model takes, and the highest
    score of any counts, so a long text does not hide a short attack. Models are files of yours: nothing is
    downloaded. What goes wrong with the model, or with a text that is too long, is a `GuardError`.

    Parameters
    ----------
    model
        The path of the ``.onnx`` file, or its bytes. It takes ``input_ids`` and, as it likes, ``attention_mask``
        and ``token_type_ids``; its first output are the logits, one for each class.
    tokenizer
        The path of its ``tokenizer.json``.
    labels
        What each output tells, in order: ``"injection"``, ``"jailbreak"`` or a name of yours, which becomes the
        fact ``<name>_score``; an empty string for what is harmless.
    threshold
        The probability, from 0 to 1, from which a text is denied.
    max_chars
        A longer text is a `GuardError`.
    max_tokens
        What the model reads at once, with its special tokens.
    stride
        Tokens that a window has in common with the one before; by default an eighth of it.
    stages
        Where texts are judged; prompts that the application itself writes (``system``, ``developer``) are not.
    threads
        Of the runtime, for one evaluation.
    """

    name = "onnx"
    local = False  # a model may take its time: it is called on a thread, with a deadline

    def __init__(
        self,
        model: str | os.PathLike[str] | bytes,
        tokenizer: str | os.PathLike[str],
        *,
        labels: Sequence[str] = ("", "injection"),
        threshold: float = 0.9,
        max_chars: int = 100_000,
        max_tokens: int = 512,
        stride: int | None = None,
        stages: Iterable[Stage | str] = (Stage.PROMPT, Stage.TOOL_RESULT),
        threads: int = 1,
    ) -> None:
        self._labels = _named(labels)
        if _is_odd(threshold, float) or not 0 < threshold <= 1:
            raise ConfigError(f"threshold={threshold!r} cannot be used: give a number above 0, and at most 1")
        for option, value, least in (
            ("max_chars", max_chars, 1),
            ("max_tokens", max_tokens, 8),
            ("threads", threads, 1),
        ):
            if _is_odd(value, int) or value < least:
                raise ConfigError(f"{option}={value!r} cannot be used: give a whole number of at least {least}")
        stride = max_tokens // 8 if stride is None else stride
        if _is_odd(stride, int) or not 0 <= stride <= max_tokens // 2:
            raise ConfigError(f"stride={stride!r} cannot be used: give a whole number up to half of max_tokens")
        self._threshold, self._max_chars, self._max_tokens = threshold, max_chars, max_tokens
        self._stages = frozenset(map(Stage, stages))
        self._session = _session(model, threads)
        self._tokenizer = _tokenizer(tokenizer, max_tokens, stride)
        self._numpy = extras.require(_NUMPY[0], extra="ml", needed=_NUMPY[1])
        inputs = {given.name: given for given in self._session.get_inputs()}
        if not {"input_ids"} <= inputs.keys() <= _INPUTS:
            raise ConfigError(
                f"the model takes {', '.join(sorted(inputs))}: it has to take input_ids and nothing but "
                f"{', '.join(sorted(_INPUTS))}"
            )
        self._inputs = tuple(inputs)
        length = next(iter(inputs["input_ids"].shape[1:]), None)
        self._length = length if isinstance(length, int) else 0  # of every window, where the model says so
        if self._length and self._length != max_tokens:
            raise ConfigError(f"the model reads {self._length} tokens at once: give max_tokens={self._length}")
        classes = self._session.get_outputs()[0].shape[-1:]
        if classes and isinstance(classes[0], int) and classes[0] != len(self._labels):
            raise ConfigError(f"the model has {classes[0]} outputs, and labels names {len(self._labels)}")

    def evaluate(self, request: GuardRequest) -> GuardResponse:
        """Judge one text; a text longer than ``max_chars`` is a `GuardError`."""
        began = perf_counter()
        own = request.stage is Stage.PROMPT and request.role in OWN_ROLES
        if request.stage not in self._stages or own or not request.content:
            return GuardResponse(decision=Decision.ALLOW)
        if len(request.content) > self._max_chars:
            raise GuardError(f"the text is longer than max_chars={self._max_chars}, so it was not classified")
        scores = dict.fromkeys(filter(None, self._labels), 0.0)
        for window in self._windows(request.content):
            for label, score in zip(self._labels, self._classify(window), strict=True):
                if label:
                    scores[label] = max(scores[label], score)
            if max(scores.values()) >= self._threshold:
                break  # it is denied, whatever else is in it
        return self._verdict(scores, (perf_counter() - began) * 1_000)

    def _windows(self, text: str) -> Iterator[Any]:
        """The windows of a text, as the tokenizer cuts it."""
        # Halves of surrogate pairs are no characters to a tokenizer.
        readable = fold(text)[0].encode("utf-8", "replace").decode()
        try:
            first = self._tokenizer.encode(readable)
        except Exception as error:
            raise GuardError(f"the tokenizer raised {type(error).__name__}; its cause is attached") from error
        yield first
        yield from first.overflowing

    def _classify(self, window: Any) -> list[float]:
        """The probability of each class for one window."""
        padding = [0] * max(0, self._length - len(window.ids))
        columns = {
            "input_ids": window.ids,
            "attention_mask": window.attention_mask,
            "token_type_ids": window.type_ids,
        }
        given = {name: self._numpy.array([columns[name] + padding], dtype="int64") for name in self._inputs}
        try:
            logits = [float(logit) for logit in self._session.run(None, given)[0][0]]
        except Exception as error:
            raise GuardError(f"the classifier raised {type(error).__name__}; its cause is attached") from error
        if len(logits) != len(self._labels) or not all(map(math.isfinite, logits)):
            raise GuardError("the classifier gave no number for each of its labels")
        return _probabilities(logits)

    def _verdict(self, scores: dict[str, float], latency_ms: float) -> GuardResponse:
        found = [label for label, score in scores.items() if score >= self._threshold]
        return GuardResponse(
            decision=Decision.DENY if found else Decision.ALLOW,
            policy_reason=f"Classified as {', '.join(found)}" if found else None,
            signals=tuple(
                Signal(
                    name="classifier",
                    category=label,
                    score=round(100 * scores[label]),
                    severity="high",
                    context_key=f"{label}_score",
                )
                for label in found
            ),
            context={f"{label}_score": round(100 * score) for label, score in scores.items()},
            latency_ms=latency_ms,
        )

    def __repr__(self) -> str:
        return f"OnnxClassifier({', '.join(filter(None, self._labels))}, threshold={self._threshold:g})"


def _probabilities(logits: Sequence[float]) -> list[float]:
    """By softmax; of a single output by the logistic function, which is the same beside a second one of 0."""
    if len(logits) == 1:
        return [_probabilities([0.0, *logits])[1]]
    highest = max(logits)
    powers = [math.exp(logit - highest) for logit in logits]
    return [power / sum(powers) for power in powers]


def _named(labels: Sequence[str]) -> tuple[str, ...]:
    named = () if isinstance(labels, str) else tuple(labels)
    if not any(named) or not all(isinstance(label, str) and (not label or label.isidentifier()) for label in named):
        raise ConfigError(
            f"labels={labels!r} cannot be used: give what each output tells, such as ('', 'injection')"
        )
    return named


def _is_odd(value: object, kind: type) -> bool:
    return isinstance(value, bool) or not isinstance(value, (int, kind))


def _tokenizer(path: str | os.PathLike[str], max_tokens: int, stride: int) -> Any:
    tokenizers = extras.require(_TOKENIZERS[0], extra="ml", needed=_TOKENIZERS[1])
    try:
        tokenizer = tokenizers.Tokenizer.from_file(os.fspath(path))
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_tokens, stride=stride)
    except Exception as error:  # the package raises plain exceptions
        raise ConfigError(f"the tokenizer cannot be read ({error}): give the path of its tokenizer.json") from error
    return tokenizer


def _session(model: str | os.PathLike[str] | bytes, threads: int) -> Any:
    runtime = extras.require(_RUNTIME[0], extra="ml", needed=_RUNTIME[1])
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3  # errors: it writes to standard error by itself
    given = model if isinstance(model, bytes) else os.fspath(model)
    try:
        return runtime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ConfigError(f"the model cannot be loaded ({type(error).__name__}); its cause is attached") from error
