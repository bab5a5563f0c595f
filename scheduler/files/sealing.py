"""JSON of requests that are not to be kept: while it waits in the ledger only our key can read it.

What is sealed stands under the name `sealed` in the place of what it holds.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any

from scheduler.files.signing import SEALED, Signer


def hide(signer: Signer, document: Mapping[str, Any], *, place: str) -> dict[str, Any]:
    """Return a document of which only `reveal`, with the same key and place, can read anything."""
    sealed = signer.seal(json.dumps(document).encode(), place=place)
    return {SEALED: base64.b64encode(sealed).decode()}


def is_hidden(document: Mapping[str, Any]) -> bool:
    """Whether a document, or a part of it, is sealed."""
    return SEALED in document


def reveal(signer: Signer, document: Mapping[str, Any], *, place: str) -> dict[str, Any]:
    """Return a document with what is sealed in it laid open; one without is returned as it is.

    Raises:
        ResultForgotten: It was sealed by another key.
    """
    if not is_hidden(document):
        return dict(document)
    rest = {name: value for name, value in document.items() if name != SEALED}
    opened = signer.unseal(base64.b64decode(document[SEALED]), place=place)
    return {**rest, **json.loads(opened)}
