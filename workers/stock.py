"""What this host could load: whose weights are here, with which options, and what is missing."""

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models import catalog
from models.catalog import Endpoint
from models.checkpoint import manifest
from models.checkpoint.manifest import LocalWeights
from models.errors import UnknownEndpoint, WeightsError
from models.options import NoOptions
from scheduler.choices import options_of
from scheduler.errors import SettingsInvalid


@dataclass(frozen=True, kw_only=True)
class Stock:
    """The endpoints that may be served here, and where their weights lie.

    Attributes:
        endpoints: By id.
        folder: One folder for each manifest; None where no weights are kept.
        chosen: What the operator set, by endpoint.
    """

    endpoints: Mapping[str, Endpoint]
    folder: Path | None = None
    chosen: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def endpoint(self, name: str) -> Endpoint:
        """Return an endpoint.

        Raises:
            UnknownEndpoint: No such endpoint is served here.
        """
        if name not in self.endpoints:
            raise UnknownEndpoint(name, known=list(self.endpoints))
        return self.endpoints[name]

    def options(self, endpoint: Endpoint) -> NoOptions:
        """Return what the operator chose about an endpoint.

        Raises:
            SettingsInvalid: There is no such choice; the message names it.
        """
        return options_of(endpoint, self.chosen)

    def weights(self, pipeline: str) -> LocalWeights | None:
        """Return the files of a pipeline; None where it needs none.

        Raises:
            WeightsError: A file is missing; the message says how to get it.
            SettingsInvalid: What the operator chose about the endpoint is no choice.
        """
        name, variant = catalog.part(pipeline)
        endpoint = self.endpoint(name)
        needed = endpoint.manifest()
        if needed is None:
            return None
        chosen = needed.variant(variant)
        parts = self.options(endpoint).parts(chosen)
        command = f"run `enlarger weights pull {needed.name} --variant {chosen.name}`"
        if self.folder is None:
            reason = f"it needs weights, and ENLARGER_WEIGHTS is not set; set it, and {command}"
            raise WeightsError(reason)
        found = manifest.look(parts, self.folder / needed.name)
        missing = manifest.lacking(parts, found)
        if missing:
            names = ", ".join(" or ".join(file.name for file in part.files) for part in missing)
            published = all(part in chosen.parts for part in missing)
            remedy = (
                command if published else "bring the files, or choose others in ENLARGER_OPTIONS"
            )
            raise WeightsError(f"{self.folder / needed.name} lacks {names}; {remedy}")
        return LocalWeights(variant=chosen.name, files=found)


def check_options(stock: Stock) -> None:
    """Refuse choices about endpoints that there are not, or that endpoints don't offer.

    Raises:
        SettingsInvalid: One won't do; the message names it.
    """
    for name in stock.chosen:
        if name not in stock.endpoints:
            known = ", ".join(sorted(stock.endpoints))
            reason = f"ENLARGER_OPTIONS: {name!r} is no endpoint; choose one of {known}"
            raise SettingsInvalid(reason, field="options")
        stock.options(stock.endpoint(name))


@dataclass(frozen=True, kw_only=True)
class Readiness:
    """Which pipelines a worker can serve, and why not the others."""

    ready: tuple[str, ...]
    not_ready: dict[str, str]


def readiness(stock: Stock, wanted: Sequence[str]) -> Readiness:
    """Look at what the pipelines of each wanted endpoint need, without loading anything."""
    unknown = [name for name in wanted if name not in stock.endpoints]
    known = ", ".join(sorted(stock.endpoints))
    unheard = f"the catalogue has no such endpoint; it has {known}"
    reasons: dict[str, str | None] = dict.fromkeys(unknown, unheard)
    for name in wanted:
        if name not in unknown:
            endpoint = stock.endpoints[name]
            reasons |= {each: _obstacle(stock, endpoint, each) for each in endpoint.pipelines()}
    return Readiness(
        ready=tuple(name for name, reason in reasons.items() if reason is None),
        not_ready={name: reason for name, reason in reasons.items() if reason is not None},
    )


def _obstacle(stock: Stock, endpoint: Endpoint, pipeline: str) -> str | None:
    module = endpoint.pipeline.partition(":")[0]
    if not _importable(module):
        return f"its pipeline {module} is not installed"
    try:
        stock.weights(pipeline)
        for name in stock.options(endpoint).borrows():
            borrowed = stock.endpoint(name)
            reason = _obstacle(stock, borrowed, borrowed.pipelines()[0])
            if reason is not None:
                return f"it needs {name}: {reason}"
    except (SettingsInvalid, UnknownEndpoint, WeightsError) as exc:
        return str(exc)
    return None


def _importable(module: str) -> bool:
    """Tell whether a module is there, without importing it (only the packages around it)."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
