"""A block as one exception that every part of LangChain and LangGraph lets through.

Retry, fallback and error middlewares, a tool node's error handling, retry policies
and subgraphs catch `Exception` and go on; what bubbles up they leave alone.
"""

from __future__ import annotations

from langgraph.errors import GraphBubbleUp

from highflame_middleware import BlockedError, Decision, GuardError, GuardResponse, HighflameError, Stage

__all__ = ["GraphBlockedError", "GraphGuardError", "bubbling", "plain", "unusable"]


class GraphBlockedError(BlockedError, GraphBubbleUp):
    """A verdict that stopped a run; caught as `highflame_middleware.BlockedError`."""


class GraphGuardError(GuardError, GraphBubbleUp):
    """A guard without a usable verdict stopped a run; caught as `highflame_middleware.GuardError`."""


def bubbling(error: HighflameError) -> HighflameError:
    """The error as one that no framework swallows."""
    if isinstance(error, GraphBubbleUp):
        return error
    if isinstance(error, BlockedError):
        return GraphBlockedError(error.response, error.stage)
    if isinstance(error, GuardError):
        raised = GraphGuardError(str(error))
        raised.forgivable = error.forgivable
        raised.__cause__ = error
        return raised
    return error


def plain(error: HighflameError) -> HighflameError:
    """The error as it is raised outside a run."""
    if isinstance(error, GraphBlockedError):
        return BlockedError(error.response, error.stage)
    return error


def unusable(stage: Stage) -> HighflameError:
    """What stops a text whose edit cannot be put in its place."""
    verdict = GuardResponse(decision=Decision.MODIFY, policy_reason="what it was edited to fits nowhere")
    return GraphBlockedError(verdict, stage)
