"""A local server that speaks as much of the Hugging Face hub's protocol as a download takes."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tests.faulty_http import Faulty, Request, faulty_http

COMMIT = "c0ffee" * 6 + "beef"
PATH = re.compile(r"/(?P<repository>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<name>.+)")


@contextmanager
def hub_server(
    files: Mapping[str, bytes], *, gated: bool = False, cut_at: int | None = None
) -> Iterator[Faulty]:
    """Serve files by `owner/name/file`; the first answer with a body can be cut off."""
    cuts = [cut_at] if cut_at is not None else []

    def answer(request: Request, _: Faulty) -> None:
        found = PATH.fullmatch(request.path)
        data = files.get(f"{found['repository']}/{found['name']}") if found else None
        if gated:
            request.answer(403, X_Error_Code="GatedRepo", X_Error_Message="agree first")
        elif data is None:
            request.answer(404, X_Error_Code="EntryNotFound")
        else:
            send(request, data, cuts)

    with faulty_http(answer) as server:
        yield server


def send(request: Request, data: bytes, cuts: list[int]) -> None:
    wanted = request.handler.headers.get("Range")
    first = int(wanted.removeprefix("bytes=").split("-")[0]) if wanted else 0
    whole = request.method != "HEAD"
    headers = {
        "ETag": f'"{hashlib.sha256(data).hexdigest()}"',
        "X_Repo_Commit": COMMIT,
        "Accept_Ranges": "bytes",
    }
    if first:
        headers["Content_Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
    cut = cuts.pop() if whole and cuts else None
    request.answer(206 if first else 200, data[first:], cut_at=cut, **headers)
