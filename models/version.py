"""The one place that says which version this is; `pyproject.toml` has to agree."""

VERSION = "0.1.0"
