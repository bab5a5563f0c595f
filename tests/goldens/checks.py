"""Which check a case gets: by its model, and the beginning of its file's name."""

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path

import torch

from tests.goldens.case import Case
from tests.goldens.comparison import Comparison

Check = Callable[[Case], Iterator[Comparison]]

MODELS = {
    "chain_of_zoom": "tests.goldens.chain_of_zoom",
    "ccsr": "tests.goldens.ccsr",
    "clarity": "tests.goldens.clarity",
    "creative": "tests.goldens.creative",
    "seedvr2": "tests.goldens.seedvr2",
}
"""Where each model's `CHECKS` are: a mapping from the beginnings of file names to checks."""


def model_of(path: Path) -> str:
    """Return the model that the nearest folder above a file is called by.

    Raises:
        LookupError: None is called by a model.
    """
    for folder in path.resolve().parents:
        if folder.name in MODELS:
            return folder.name
    message = f"no folder above {path} is called {' or '.join(sorted(MODELS))}"
    raise LookupError(message)


def run(model: str, path: Path) -> list[Comparison]:
    """Recompute a case by the project's code.

    Returns:
        A comparison for each output of the case, and for those intermediate values that the check
        looks at. An output that the check forgot is one that failed.

    Raises:
        LookupError: No model or no kind of case is called so.
    """
    if model not in MODELS:
        message = f"no model {model!r}; there are {', '.join(sorted(MODELS))}"
        raise LookupError(message)
    checks: Mapping[str, Check] = import_module(MODELS[model]).CHECKS
    case = Case.read(path)
    with torch.inference_mode():
        comparisons = list(_find(checks, path.stem)(case))
    seen = {comparison.name for comparison in comparisons}
    forgotten = [
        Comparison(name=name, error=float("inf"), passed=False)
        for name in case.outputs
        if name not in seen
    ]
    return comparisons + forgotten


def _find(checks: Mapping[str, Check], name: str) -> Check:
    """Return the check with the longest beginning that fits."""
    fitting = [beginning for beginning in checks if name.startswith(beginning)]
    if not fitting:
        message = f"no check for {name!r}; cases begin with {', '.join(sorted(checks))}"
        raise LookupError(message)
    return checks[max(fitting, key=len)]
