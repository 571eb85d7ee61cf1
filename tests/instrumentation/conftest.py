"""A module of tests about certain SDKs is collected where they are installed; the table takes the SDKs it finds."""

from importlib import util

# By the test module: what it needs.
NEEDS = {
    "test_anthropic_seam": ("anthropic",),
    "test_botocore_seam": ("aiobotocore", "boto3"),
    "test_faults": ("openai",),
    "test_google_seam": ("google.genai",),
    "test_hosts": ("openai",),
    "test_lifecycle": ("openai",),
    "test_litellm": ("litellm",),
    "test_openai_resources": ("openai",),
    "test_openai_seam": ("openai",),
    "test_patches": ("openai",),
    "test_proof": ("openai",),
    "test_routing": ("openai", "anthropic", "boto3"),
    "test_timing": ("openai",),
    "test_translated": ("aiobotocore", "anthropic", "boto3", "google.genai", "openai"),
    "test_translated_routes": ("aiobotocore", "anthropic", "boto3", "google.genai", "openai"),
    "test_websocket_sdks": ("websockets",),
    "test_websockets": ("websockets",),
}


def _is_there(module: str) -> bool:
    try:
        return util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


collect_ignore = [f"{name}.py" for name, modules in NEEDS.items() if not all(map(_is_there, modules))]
