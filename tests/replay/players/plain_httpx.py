"""httpx by itself."""

import httpx

from tests.replay.players.plain import player_of

PLAYER = player_of(httpx)
