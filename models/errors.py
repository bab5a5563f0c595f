"""Errors of three kinds; each class belongs to exactly one.

EnlargerError
├── RequestError            the request is wrong: fail now, say which field and why
│   ├── ArgumentInvalid     a value is of the wrong type or out of range
│   ├── UnknownEndpoint
│   ├── ImageUnreadable     truncated, corrupt, empty, or no image at all
│   ├── ImageTooLarge       over a limit on pixels, sides or bytes
│   └── ImageTooSmall
├── WorldError              the world is unwell: try again later
│   └── OutOfDeviceMemory
└── ProgramError            we are wrong: fail, keep the traceback
    ├── WeightsError        a checkpoint does not fit the network
    ├── CompilerMissing     an operator wants networks compiled, where that can't be done
    ├── NotFinite           a tensor held NaN or infinity
    └── ResultImplausible   an encoded result is not what was promised
Cancelled is no error: it unwinds a job that nobody wants any more.
"""

import re
from enum import StrEnum
from typing import ClassVar


class Kind(StrEnum):
    """Decides what happens to a job after an error."""

    REQUEST = "request"
    """Fail at once; another attempt would end the same way."""
    WORLD = "world"
    """Back off and try again, within the job's budget of failures."""
    PROGRAM = "program"
    """Fail, keep the traceback, count it for the operators."""


class EnlargerError(Exception):
    """The root of every error that Enlarger raises on purpose.

    Attributes:
        kind: What the engine does about it.
        field: The request field at fault, in the endpoint's own spelling; None where no field is.
    """

    kind: ClassVar[Kind] = Kind.PROGRAM

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field

    @property
    def code(self) -> str:
        """The class's name in snake case: the stable identifier that records and reports carry."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", type(self).__name__).lower()


class RequestError(EnlargerError):
    """The request is wrong."""

    kind: ClassVar[Kind] = Kind.REQUEST


class WorldError(EnlargerError):
    """Something outside of the request and of our code is unwell."""

    kind: ClassVar[Kind] = Kind.WORLD


class ProgramError(EnlargerError):
    """Our code, or a file it trusts, is wrong."""

    kind: ClassVar[Kind] = Kind.PROGRAM


class ArgumentInvalid(RequestError):
    """A value is of the wrong type or out of its range."""


class UnknownEndpoint(RequestError):
    """No endpoint of the catalogue has this id."""

    def __init__(self, endpoint: str, *, known: list[str]) -> None:
        super().__init__(
            f"endpoint: {endpoint!r} is unknown; choose one of {', '.join(sorted(known))}",
            field="endpoint",
        )


class ImageUnreadable(RequestError):
    """The bytes are no image that we read, or a damaged one."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"image_url: {reason}", field="image_url")


class ImageTooLarge(RequestError):
    """A side, the number of pixels or the number of bytes is over a limit."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"image_url: {reason}", field="image_url")


class ImageTooSmall(RequestError):
    """A side is shorter than the model's smallest input."""

    def __init__(self, width: int, height: int, *, least: int) -> None:
        super().__init__(
            f"image_url: {width}x{height} is too small; both sides must be at least {least} pixels",
            field="image_url",
        )


class OutOfDeviceMemory(WorldError):
    """The device had no room, even after other pipelines left it and the tiles were halved."""


class WeightsError(ProgramError):
    """A checkpoint does not hold what the network needs, or holds what it does not know."""


class CompilerMissing(ProgramError):
    """Networks are to be compiled, and torch can't do it on this worker."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"torch can't compile networks here ({reason}); install a C++ compiler, such as g++, "
            "or take `compiled` out of the endpoint's ENLARGER_OPTIONS"
        )


class NotFinite(ProgramError):
    """A tensor on its way to pixels held NaN or infinity."""


class ResultImplausible(ProgramError):
    """An encoded result does not decode to what the request promised."""


class Cancelled(Exception):
    """Unwinds a job that was cancelled, drained or lost; carries no blame."""
