"""What becomes of a job whose stage raised: failed, released for another try, or dropped."""

import json
import random
import traceback
from typing import Any

import structlog

from models.errors import Cancelled, EnlargerError, Kind
from scheduler.ledger.jobs import Ending, Release
from scheduler.ledger.lapses import MAX_FAILURES
from scheduler.ledger.tables import JobState
from scheduler.settings import Settings
from workers.life import Life, Unwanted

log = structlog.get_logger()

TRACEBACK_CHARACTERS = 8000
"""The end of a traceback is kept: it names the line."""
MESSAGE_CHARACTERS = 2000

Result = Ending | Release | None
"""How a job leaves this process: ended, given back, or (None) discarded."""


def verdict(life: Life, exc: BaseException, settings: Settings) -> Result:
    """Decide by the kind of the error, and for world errors by how many tries are left."""
    if isinstance(exc, Cancelled) and life.unwanted is not None:
        return unwanted(life, life.unwanted)
    error = describe(exc)
    if error["kind"] == Kind.PROGRAM:
        log.error("job.crashed", job=str(life.job.id), exception=error["traceback"])
    if error["kind"] != Kind.WORLD:
        return _failed(life, error)
    attempts = life.job.failures + 1
    if attempts >= life.job.options.get(MAX_FAILURES, settings.max_failures):
        tries = "1 attempt" if attempts == 1 else f"{attempts} attempts"
        return _failed(life, error | {"message": f"{error['message']} (gave up after {tries})"})
    return Release(
        ticket=life.ticket,
        wait_s=backoff_s(life.job.failures, settings),
        failed=True,
        error=to_json(error),
        etag=life.etag,
    )


def unwanted(life: Life, why: Unwanted) -> Result:
    """Return how a job that nobody wants any more ends."""
    if why is Unwanted.CANCELLED:
        return Ending(ticket=life.ticket, state=JobState.CANCELLED, device_s=life.device_s)
    return Release(ticket=life.ticket, etag=life.etag) if why is Unwanted.DRAINED else None


def _failed(life: Life, error: dict[str, Any]) -> Ending:
    return Ending(
        ticket=life.ticket,
        state=JobState.FAILED,
        error=to_json(error),
        device_s=life.device_s,
    )


def backoff_s(failures: int, settings: Settings) -> float:
    """Return the wait before the next try: doubled with each failure, capped, and up to half less.

    The jitter keeps jobs that failed together from coming back together.
    """
    longest = settings.backoff_max_s
    # Capped before the power is taken: 2.0**1024 overflows.
    wait = min(settings.backoff_s * 2.0 ** min(failures, 64), longest)
    return wait * random.uniform(0.5, 1.0)  # noqa: S311 - no secret


def describe(exc: BaseException) -> dict[str, Any]:
    """Return what the ledger keeps of an error; only the program's own errors keep a traceback."""
    if isinstance(exc, EnlargerError):
        code, kind, field = exc.code, exc.kind, exc.field
    elif isinstance(exc, MemoryError):
        code, kind, field = "out_of_memory", Kind.WORLD, None
    else:
        code, kind, field = "program_failed", Kind.PROGRAM, None
    ours = isinstance(exc, EnlargerError)
    text = str(exc) if ours else "".join(traceback.format_exception_only(exc)).strip()
    error = {"code": code, "kind": str(kind), "message": text[:MESSAGE_CHARACTERS], "field": field}
    if kind is Kind.PROGRAM:
        lines = "".join(traceback.format_exception(exc))
        error["traceback"] = lines[-TRACEBACK_CHARACTERS:]
    return error


def to_json(value: Any) -> str:  # noqa: ANN401 - whatever JSON can hold
    """Return JSON that PostgreSQL takes: without NUL characters and halves of surrogate pairs."""
    written = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if "\\u0000" in written:
        written = json.dumps(_without_nul(value), ensure_ascii=False, allow_nan=False)
    return written.encode(errors="replace").decode()


def _without_nul(value: Any) -> Any:  # noqa: ANN401 - whatever JSON can hold
    if isinstance(value, str):
        return value.replace("\0", "\N{REPLACEMENT CHARACTER}")
    if isinstance(value, dict):
        return {_without_nul(key): _without_nul(each) for key, each in value.items()}
    return [_without_nul(each) for each in value] if isinstance(value, list | tuple) else value
