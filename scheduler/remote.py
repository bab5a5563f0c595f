"""The desk behind an API: what `LedgerDesk` answers, asked for over HTTP with a key."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any
from urllib.parse import quote, urlencode
from uuid import UUID

import urllib3
from pydantic import TypeAdapter
from urllib3.exceptions import HTTPError

from models.errors import RequestError
from scheduler.desk import Failure
from scheduler.errors import ApiRefused, ApiUnavailable, BatchUnknown
from scheduler.ledger.batches import Progress
from scheduler.ledger.rows import UNSUCCESSFUL
from scheduler.ledger.tables import JobState
from scheduler.submission import Order, Submitted

TIMEOUT = urllib3.Timeout(connect=10, read=120)
NOT_SENT = ("owner", "places")
"""The key says whose order it is, and the operator what it may name."""
_PROGRESS = TypeAdapter(Progress)


class RemoteDesk:
    """A desk of one owner's batches."""

    def __init__(self, url: str, *, key: str) -> None:
        """Open the desk; nothing is asked yet.

        Args:
            url: Where the API is, such as ``https://enlarger.example``.
            key: `id:secret`.
        """
        self._url = url.rstrip("/") + "/v1"
        self._headers = {"Authorization": f"Key {key}", "Content-Type": "application/json"}
        self._pool = urllib3.PoolManager(timeout=TIMEOUT, retries=False)

    def __repr__(self) -> str:
        return f"RemoteDesk({self._url!r})"

    def submit(self, order: Order) -> Submitted:
        """Send an order.

        Raises:
            ApiRefused: The API says what is wrong with it, or with the key. This holds for all.
            ApiUnavailable: It does not answer. This holds for all.
        """
        found = self._ask("POST", "/batches", _written(order))
        return Submitted(id=UUID(found["id"]), new=found["new"])

    def find(self, piece: str) -> UUID:
        """Return the batch that a piece of an id means.

        Raises:
            BatchUnknown: It means none.
        """
        return UUID(self._ask("GET", f"/batches/{quote(piece, safe='')}")["id"])

    def progress(self, ids: Sequence[UUID]) -> list[Progress]:
        """Return the counters of batches, in order."""
        return [_progress(self._ask("GET", f"/batches/{id_}")) for id_ in ids]

    def latest(self, *, limit: int) -> list[Progress]:
        """Return the counters of the owner's newest batches."""
        found = self._ask("GET", f"/batches?limit={limit}")
        return [_progress(each) for each in found["batches"]]

    def failures(self, batch_id: UUID, *, limit: int) -> list[Failure]:
        """Return the first rows that ended without a result."""
        query = urlencode({"limit": limit, "state": UNSUCCESSFUL}, doseq=True)
        return [
            Failure(
                line=row["line"],
                source=row["source"],
                state=JobState(row["state"]),
                reason=row["error"]["message"],
            )
            for row in self._ask("GET", f"/batches/{batch_id}/jobs?{query}")["jobs"]
        ]

    def lines(self, batch_id: UUID, *, only_failed: bool) -> Iterator[str]:
        """Yield the lines of the results as they come."""
        path = f"/batches/{batch_id}/results?failed={str(only_failed).lower()}"
        with self._asked("GET", path, None) as answer:
            rest = b""
            for piece in answer.stream(2**16):
                *whole, rest = (rest + piece).split(b"\n")
                yield from (line.decode() for line in whole)

    def retry(self, batch_id: UUID, states: Sequence[JobState]) -> int:
        """Give ended jobs another chance; count them."""
        sent = {"states": [str(state) for state in states]}
        return int(self._ask("POST", f"/batches/{batch_id}/retry", sent)["retried"])

    def cancel(self, batch_id: UUID) -> bool:
        """Let nothing more start; tell whether anything was left."""
        return self._change(batch_id, "cancel")

    def pause(self, batch_id: UUID) -> bool:
        """Let nothing start for a while; tell whether it went on until now."""
        return self._change(batch_id, "pause")

    def resume(self, batch_id: UUID) -> bool:
        """Let a paused batch go on; tell whether it was paused."""
        return self._change(batch_id, "resume")

    def prioritize(self, batch_id: UUID, priority: int) -> bool:
        """Serve a batch earlier or later; tell whether it has not ended."""
        return self._change(batch_id, "prioritize", {"priority": priority})

    def ready(self) -> dict[str, int]:
        """Return how many workers can serve each endpoint."""
        found = self._ask("GET", "/endpoints")["endpoints"]
        return {each["id"]: each["workers"] for each in found if each["workers"]}

    def post(self) -> None:
        """Return nothing: an owner is not told of everybody's webhooks."""
        return

    def _change(self, batch_id: UUID, what: str, sent: Mapping[str, Any] | None = None) -> bool:
        return bool(self._ask("POST", f"/batches/{batch_id}/{what}", sent or {})["changed"])

    def _ask(self, method: str, path: str, sent: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401 - JSON
        with self._asked(method, path, sent) as answer:
            return json.loads(answer.data)

    def _asked(
        self, method: str, path: str, sent: Mapping[str, Any] | None
    ) -> urllib3.BaseHTTPResponse:
        """Send a request and return the answer, once its head says that all is well."""
        body = None if sent is None else json.dumps(sent)
        try:
            answer = self._pool.request(
                method, self._url + path, headers=self._headers, body=body, preload_content=False
            )
        except HTTPError as exc:
            raise ApiUnavailable(f"api: {self._url} does not answer: {exc}") from exc
        if answer.status < 400:
            return answer
        with answer:
            raise _refusal(answer.status, answer.data.decode(errors="replace"))


def _written(order: Order) -> dict[str, Any]:
    """Return what an order says that is not said anyway, so that older servers understand it."""
    usual = Order(source="", destination="")
    said = {
        name: value
        for name, value in vars(order).items()
        if name not in NOT_SENT and value != getattr(usual, name)
    }
    if "dialect" in said:
        said["dialect"] = order.dialect.to_json()
    return said


def _progress(found: Mapping[str, Any]) -> Progress:
    """Return the counters that an answer holds, beside what it says of their pace."""
    known = {field.name for field in fields(Progress)}
    return _PROGRESS.validate_python({n: value for n, value in found.items() if n in known})


def _refusal(status: int, body: str) -> RequestError | ApiUnavailable:
    """Return the error that an answer stands for."""
    reason = _reason(body)
    if status >= 500:
        return ApiUnavailable(f"api: answers {status}: {reason}")
    if status == 404:
        return BatchUnknown(reason, field="batch")
    return ApiRefused(reason)


def _reason(body: str) -> str:
    """Return what an error's answer says, in either of fal's shapes."""
    try:
        detail = json.loads(body)["detail"]
    except (ValueError, KeyError, TypeError):
        return body[:200] or "nothing"
    if isinstance(detail, str):
        return detail
    return "; ".join(str(each.get("msg", each)) for each in detail)
