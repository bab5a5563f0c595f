"""`results.parquet`: the columns of `results.jsonl` as a table, for what reads columns.

pyarrow writes it, which the extra `parquet` installs.
"""

import json
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from scheduler.ledger.rows import RowRecord
from scheduler.naming import TABLE
from scheduler.report.results import PASSTHROUGH, known

BATCH_ROWS = 250
"""Rows that are turned into columns at a time."""
GROUP_BYTES = 2**24
"""Size of a row group, which is in memory as a whole."""
WHOLE = ("line", "input_bytes", "output_bytes", "failures", "seed")
SIDES = ("input_width", "input_height", "output_width", "output_height")
SECONDS = ("device_s", "total_s")


class Table:
    """The table of one batch while it is written, in constant memory.

    Args:
        folder: Where it is made.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / TABLE
        self._rows: list[dict[str, Any]] = []
        self._batches: list[Any] = []
        self._writer: Any = None

    @staticmethod
    def is_possible() -> bool:
        """Whether pyarrow is installed."""
        return find_spec("pyarrow") is not None

    def add(self, row: RowRecord) -> None:
        """Write one row, sooner or later."""
        self._rows.append(_record(row))
        if len(self._rows) == BATCH_ROWS:
            self._turn()
        if sum(batch.nbytes for batch in self._batches) >= GROUP_BYTES:
            self._write()

    def finish(self) -> Iterable[tuple[str, str]]:
        """Close the table, which may be empty."""
        self._turn()
        self._write()
        self._writer.close()
        return [(TABLE, "application/vnd.apache.parquet")]

    def _turn(self) -> None:
        """Turn what has come into columns."""
        from pyarrow import RecordBatch

        self._batches.append(RecordBatch.from_pylist(self._rows, schema=schema()))
        self._rows.clear()

    def _write(self) -> None:
        """Write a row group."""
        from pyarrow import Table as Columns
        from pyarrow import parquet

        if self._writer is None:
            self._writer = parquet.ParquetWriter(self._path, schema(), compression="zstd")
        self._writer.write_table(Columns.from_batches(self._batches))
        self._batches.clear()


COLUMNS = (
    "line",
    "id",
    "job_id",
    "state",
    "source",
    "version_id",
    "destination",
    "objects",
    "input_width",
    "input_height",
    "input_bytes",
    "output_width",
    "output_height",
    "output_bytes",
    "existing",
    "reused_from",
    "device_s",
    "total_s",
    "ended_at",
    "worker",
    "failures",
    "endpoint",
    "arguments",
    "seed",
    "weights",
    "model_notes",
    "error",
    PASSTHROUGH,
)


@cache
def schema() -> Any:  # noqa: ANN401 - pyarrow has no types
    """Return the table's columns: those of `results.jsonl`, and one for all of the user's."""
    import pyarrow as arrow

    types = {
        **dict.fromkeys(WHOLE, arrow.int64()),
        **dict.fromkeys(SIDES, arrow.int32()),
        **dict.fromkeys(SECONDS, arrow.float64()),
        "existing": arrow.bool_(),
        "ended_at": arrow.timestamp("us", tz="UTC"),
    }
    return arrow.schema([(name, types.get(name, arrow.string())) for name in COLUMNS])


def _record(row: RowRecord) -> dict[str, Any]:
    """Return a row's values; what is an object or a list is JSON."""
    values = {**known(row), PASSTHROUGH: row.passthrough, "ended_at": row.ended_at}
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:  # noqa: ANN401 - what JSON holds
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
