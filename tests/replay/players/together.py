"""Recorded Together calls with the Together SDK."""

import together

from tests.replay.players.stainless import player_of

with together.Together(api_key="k") as _usual:
    # Some versions count the API's version to the base URL.
    _PATH = _usual.base_url.path.rstrip("/")

PLAYER = player_of("together", together.Together, together.AsyncTogether, path=_PATH)
