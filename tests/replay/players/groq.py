"""Recorded Groq calls with the Groq SDK."""

import groq

from tests.replay.players.stainless import player_of

PLAYER = player_of("groq", groq.Groq, groq.AsyncGroq)
