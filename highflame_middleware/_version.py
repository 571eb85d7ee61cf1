"""The version, once; pyproject.toml and CHANGELOG.md are compared with it by a test."""

__version__ = "0.1.0"
