"""Policies in Cedar, for the extra ``policy``: highflame-policy's templates, and files of one's own."""

from .policy_set import Coverage, PolicySet, PolicyStatus
from .schema import Action

__all__ = ["Action", "Coverage", "PolicySet", "PolicyStatus"]
