"""httpx2 by itself."""

import httpx2

from tests.replay.players.plain import player_of

PLAYER = player_of(httpx2)
