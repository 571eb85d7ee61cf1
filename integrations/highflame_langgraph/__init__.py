"""Highflame's guard in LangChain and LangGraph: agents, models, tool nodes, graphs and chains that enforce.

>>> from langchain.agents import create_agent
>>> from langchain_core.language_models import FakeListChatModel
>>> model = FakeListChatModel(responses=["Card 4111 1111 1111 1111"])
>>> agent = create_agent(model, middleware=[HighflameAgentMiddleware(gateway=None)])
>>> agent.invoke({"messages": [("user", "Which card?")]})["messages"][-1].text
'Card [REDACTED:credit_card]'
"""

from __future__ import annotations

from highflame_middleware.extras import require

# Below these a retry, a fallback or a node's error handling swallows what is to stop a run.
require("langgraph", extra="langgraph", needed="langgraph>=1.2")
require("langchain", extra="langgraph", needed="langchain>=1.4")

from highflame_middleware.checkpoint import StepUp  # noqa: E402 - the versions are looked at first

from .approval import approve, reject  # noqa: E402
from .blocked import GraphBlockedError, GraphGuardError  # noqa: E402
from .callbacks import HighflameCallbackHandler  # noqa: E402
from .graph import guard_graph  # noqa: E402
from .middleware import HighflameAgentMiddleware  # noqa: E402
from .model import guarded_model  # noqa: E402
from .proof import self_test  # noqa: E402
from .routing import chat_model  # noqa: E402
from .runnable import GuardRunnable  # noqa: E402
from .tools import guard_tool_node  # noqa: E402

__all__ = [
    "GraphBlockedError",
    "GraphGuardError",
    "GuardRunnable",
    "HighflameAgentMiddleware",
    "HighflameCallbackHandler",
    "StepUp",
    "approve",
    "chat_model",
    "guard_graph",
    "guard_tool_node",
    "guarded_model",
    "reject",
    "self_test",
]
