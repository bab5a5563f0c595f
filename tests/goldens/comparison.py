"""How far a computed tensor is from its reference, and how far it may be."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Tolerance:
    """An element may differ by `absolute + relative * |reference|`.

    Attributes:
        share: How many of the elements, 0 to 1, may differ at all.
    """

    absolute: float = 0.0
    relative: float = 0.0
    share: float = 1.0

    def __str__(self) -> str:
        terms = [f"{self.absolute:g}"] + [f"{self.relative:g} * |value|"] * (self.relative > 0)
        return " + ".join(terms) + f" on {self.share:.1%} of values" * (self.share < 1)


EXACT = Tolerance()


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One tensor of a case.

    Attributes:
        name: As the file calls it.
        error: The largest absolute difference; NaN counts as infinite.
        tolerance: What it is held against.
        passed: Whether every element is within.
        skipped: Why the product does not compute it, or empty.
    """

    name: str
    error: float = 0.0
    tolerance: Tolerance = EXACT
    passed: bool = True
    skipped: str = ""

    def __str__(self) -> str:
        if self.skipped:
            return f"optional: skipped {self.name}: {self.skipped}"
        verdict = "ok    " if self.passed else "FAILED"
        return f"{verdict} {self.name}: largest error {self.error:.3g}, tolerance {self.tolerance}"


def compare(name: str, actual: Tensor, expected: Tensor, tolerance: Tolerance) -> Comparison:
    """Hold one tensor against its reference; another shape fails."""
    if actual.shape != expected.shape:
        shapes = f"{name} of {tuple(actual.shape)} instead of {tuple(expected.shape)}"
        return Comparison(name=shapes, error=torch.inf, tolerance=tolerance, passed=False)
    error = (actual.double() - expected.double()).abs().nan_to_num(nan=torch.inf)
    limit = tolerance.absolute + tolerance.relative * expected.double().abs()
    share = (error > 0).double().mean().item() if error.numel() else 0.0
    return Comparison(
        name=name,
        error=error.max().item() if error.numel() else 0.0,
        tolerance=tolerance,
        passed=bool((error <= limit).all()) and share <= tolerance.share,
    )


def agree(name: str, actual: object, expected: object) -> Comparison:
    """Hold anything that is no tensor against its reference; it must be equal."""
    same = actual == expected
    return Comparison(name=name, error=0.0 if same else torch.inf, passed=same)


def skip(name: str, why: str) -> Comparison:
    """Say that the product leaves a tensor out, and why."""
    return Comparison(name=name, skipped=why)
