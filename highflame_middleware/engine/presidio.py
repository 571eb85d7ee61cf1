"""Microsoft Presidio as a recogniser, with a spaCy model of the user's (the extra ``pii``)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from .. import extras
from ..errors import ConfigError

__all__ = ["PresidioRecogniser"]


class PresidioRecogniser:
    """What Presidio's analyzer finds, under its own names of types: ``PERSON``, ``LOCATION``, ``NRP``…

    Parameters
    ----------
    model
        A spaCy model that is installed, such as ``"en_core_web_sm"``. None is ever downloaded.
    analyzer
        An ``AnalyzerEngine`` of one's own, in the place of ``model``.
    entities
        The types to look for. The embedded engine finds what has a form by itself.
    language
        The language of the model.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        analyzer: Any = None,
        entities: Iterable[str] = ("PERSON", "LOCATION", "NRP", "ORGANIZATION"),
        language: str = "en",
    ) -> None:
        if (model is None) == (analyzer is None):
            raise ConfigError("give either model=, the name of an installed spaCy model, or analyzer=")
        self._analyzer = analyzer if model is None else _analyzer(model, language)
        self._entities = list(entities)
        self._language = language

    def find(self, text: str) -> Iterator[tuple[int, int, str, float]]:
        """Start, end, type and score of each finding."""
        for one in self._analyzer.analyze(text=text, language=self._language, entities=self._entities):
            yield one.start, one.end, one.entity_type, one.score


def _analyzer(model: str, language: str) -> Any:
    presidio = extras.require("presidio_analyzer", extra="pii", needed="presidio-analyzer>=2.2.350")
    spacy = extras.require("spacy", extra="pii", needed="spacy>=3.7")
    if not spacy.util.is_package(model):
        installed = ", ".join(spacy.util.get_installed_models()) or "none"
        raise ConfigError(
            f"the spaCy model {model!r} is not installed (there are: {installed}); it is not downloaded"
        )
    provider = extras.require("presidio_analyzer.nlp_engine", extra="pii", needed="presidio-analyzer>=2.2.350")
    engine = provider.NlpEngineProvider(
        nlp_configuration={"nlp_engine_name": "spacy", "models": [{"lang_code": language, "model_name": model}]}
    ).create_engine()
    return presidio.AnalyzerEngine(nlp_engine=engine, supported_languages=[language])
