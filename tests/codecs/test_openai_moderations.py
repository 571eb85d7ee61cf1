"""openai-moderations: what is to be classified is not judged, and nothing of it comes back."""

from __future__ import annotations

import random

from highflame_middleware.codecs import codec_for_path, load_codec
from highflame_middleware.codecs.parts import Params, Summary
from tests.codecs.shapes import check_events, check_reads, random_json

MODERATIONS = load_codec("openai-moderations")


def test_it_has_no_texts() -> None:
    read = MODERATIONS.read_call({"model": "omni", "input": ["how to harm"]})
    assert (read.model, read.stream, read.texts) == ("omni", False, ())
    reply = MODERATIONS.read_reply({"id": "modr-1", "model": "omni-1", "results": [{"categories": {"hate": True}}]})
    assert (reply.texts, reply.summary) == ((), Summary(id="modr-1", model="omni-1"))


def test_it_has_no_name_in_the_conventions() -> None:
    assert MODERATIONS.operation_of("POST", "/moderations") is None
    assert MODERATIONS.read_params({"model": "x"}) == Params()
    assert MODERATIONS.refuse("no")["results"] == []
    assert codec_for_path("/v1/moderations", spoken="openai") is MODERATIONS
    assert codec_for_path("/v1/moderations", spoken="mistral") is None


def test_no_shape_makes_it_raise() -> None:
    rolled = random.Random(41)
    for _ in range(300):
        check_reads(MODERATIONS, random_json(rolled))
        check_events(MODERATIONS, [(None, random_json(rolled))])
