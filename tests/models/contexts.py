"""Contexts to run an upscaler in without an engine."""

from typing import NoReturn

from models.catalog import find, load
from models.upscaler import Context, Upscaler


def make_context(**overrides) -> Context:
    """Return a context that wants no progress and cancels nothing."""
    defaults = {
        "seed": 1,
        "progress": lambda fraction, stage: None,
        "check_cancelled": lambda: None,
        "borrow": _borrow,
    }
    return Context(**defaults | overrides)


def load_upscaler(endpoint: str) -> Upscaler:
    """Load an endpoint's pipeline that needs no weights, on the CPU."""
    found = find(endpoint)
    options = found.options_class()()
    return load(found.pipeline).load(None, options=options, device="cpu", dtype="float32")


def _borrow(endpoint: str) -> NoReturn:
    message = f"nothing lends {endpoint} here"
    raise AssertionError(message)
