"""Gateways to an upstream, and asking them over sockets."""

from __future__ import annotations

from typing import Any

import httpx

from highflame_middleware import Gateway
from tests.servers import Server

CHAT = "/v1/chat/completions"


def gateway_to(upstream: Server, **options: Any) -> Gateway:
    timeout = options.pop("timeout", 5.0)
    return Gateway(
        providers={"up": {"base_url": f"{upstream.url}/v1", "timeout": timeout}}, **{"guard": None, **options}
    )


def post(url: str, body: Any = None, **options: Any) -> httpx.Response:
    if body is not None:
        options["json"] = body
    return httpx.post(f"{url}{options.pop('path', CHAT)}", **options)
