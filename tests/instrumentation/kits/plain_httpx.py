"""httpx by itself."""

import httpx

from tests.instrumentation.kits.plain import kit_of

KIT = kit_of(httpx)
