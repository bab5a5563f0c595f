"""From the header Authorization to a caller: looked up in the ledger, remembered for seconds.

Status is polled ten times a second by every waiting client, so most requests must get by without a
look-up. A revoked key is good for `REMEMBERED_S` more.
"""

import time
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import Depends, Request
from starlette.concurrency import run_in_threadpool

from scheduler.api.errors import CredentialsInvalid, NotPermitted
from scheduler.ledger import keys
from scheduler.ledger.keys import Caller, Scope
from scheduler.ledger.session import Ledger

REMEMBERED_S = 5.0
MOST = 10_000
"""Keys that are remembered; beyond that all are forgotten, and looked up anew."""
SCHEMES = ("key", "bearer")
LONGEST = 512
HOW = 'authorization: send the header "Authorization: Key ID:SECRET" with a key of `enlarger keys`'


class Keyring:
    """The good keys that were seen lately, by the hash of the credential."""

    def __init__(self, ledger: Ledger, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._ledger = ledger
        self._clock = clock
        self._seen: dict[bytes, tuple[float, Caller]] = {}

    async def caller(self, authorization: str) -> Caller:
        """Return whom a header stands for.

        Raises:
            CredentialsInvalid: It is missing, or no good key.
            LedgerUnavailable: It can't be known.
        """
        scheme, _, credential = authorization.strip().partition(" ")
        credential = credential.strip()
        if scheme.lower() not in SCHEMES or not credential or len(credential) > LONGEST:
            raise CredentialsInvalid(HOW, field="authorization")
        mark = keys.fingerprint(credential)
        seen = self._seen.get(mark)
        if seen is not None and self._clock() - seen[0] < REMEMBERED_S:
            return seen[1]
        return await run_in_threadpool(self._look_up, mark, credential)

    def _look_up(self, mark: bytes, credential: str) -> Caller:
        with self._ledger.begin(durable=False) as session:
            found = keys.find(session, credential)
        if found is None:
            self._seen.pop(mark, None)
            reason = "authorization: this key is unknown, wrong or revoked"
            raise CredentialsInvalid(reason, field="authorization")
        if len(self._seen) >= MOST:
            self._seen.clear()
        self._seen[mark] = (self._clock(), found)
        return found


def allowed(scope: Scope) -> Callable[[Request], Coroutine[Any, Any, Caller]]:
    """Return a dependency: the caller of a request, who must have a scope."""

    async def caller(request: Request) -> Caller:
        keyring: Keyring = request.app.state.keyring
        found = await keyring.caller(request.headers.get("authorization", ""))
        return permitted(found, scope)

    return caller


def permitted(caller: Caller, scope: Scope) -> Caller:
    """Return the caller.

    Raises:
        NotPermitted: The key lacks the scope.
    """
    if scope not in caller.scopes:
        reason = f"authorization: this key lacks the scope {scope.value!r}"
        raise NotPermitted(reason, field="authorization")
    return caller


RequestsCaller = Annotated[Caller, Depends(allowed(Scope.REQUESTS))]
"""Whoever may submit and read requests."""
FilesCaller = Annotated[Caller, Depends(allowed(Scope.FILES))]
"""Whoever may upload files."""
BatchesCaller = Annotated[Caller, Depends(allowed(Scope.BATCHES))]
"""Whoever may submit and steer batches."""
