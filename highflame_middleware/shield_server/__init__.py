"""Highflame Shield, served: the wire of `highflame_middleware.shield` from the other side, over any guard.

`ShieldApp` is the door; what stands behind it is pure, apart from four small stores
in memory: tokens that were used up, approvals, answers given, what models have cost.
"""

from .app import ShieldApp
from .approvals import PendingApproval
from .front import Front
from .receipts import ReceiptSigner
from .spending import Price
from .tokens import Key

__all__ = ["Front", "Key", "PendingApproval", "Price", "ReceiptSigner", "ShieldApp"]
