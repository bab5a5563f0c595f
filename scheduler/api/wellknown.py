"""The public keys by which receivers know our webhooks."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse

from scheduler.ledger import webhook_keys
from scheduler.webhooks import signing

router = APIRouter(tags=["webhooks"])

CACHED_S = 3600
"""Far less than the day that lies between a key's publication and its first signature."""


@router.get("/.well-known/jwks.json")
@router.get("/rest/.well-known/jwks.json", include_in_schema=False)
def read_keys(request: Request) -> JSONResponse:
    """Return the keys that webhooks are signed with, as a JSON Web Key Set; no key is needed."""
    with request.app.state.ledger.begin() as session:
        webhook_keys.ensure(session)
        found = [key for key in webhook_keys.valid(session) if key.subscription_id is None]
    document: dict[str, Any] = signing.jwks(found)
    return JSONResponse(document, headers={"cache-control": f"public, max-age={CACHED_S}"})
