"""httpx2 by itself."""

import httpx2

from tests.instrumentation.kits.plain import kit_of

KIT = kit_of(httpx2)
