"""The adapter's tests are collected where LangChain is installed: `make frameworks` makes such an environment."""

from importlib import util

# By the test module: what it needs.
NEEDS = {
    "test_conformance": ("langchain", "langchain_openai"),
    "test_other_models": ("langchain", "langchain_anthropic", "langchain_google_genai"),
    "test_pages": ("langchain", "langchain_openai"),
    "test_real_models": ("langchain", "langchain_openai"),
}
_HERE = (
    "test_agent",
    "test_approval",
    "test_callbacks",
    "test_echoes",
    "test_graph",
    "test_model",
    "test_order",
    "test_proof",
    "test_runnable",
    "test_streams",
    "test_tools",
)


def _is_there(module: str) -> bool:
    return util.find_spec(module) is not None


NEEDS |= dict.fromkeys(_HERE, ("langchain", "langgraph"))
collect_ignore = [f"{name}.py" for name, modules in NEEDS.items() if not all(map(_is_there, modules))]
