"""What decides a result: two jobs with one recipe have the same result, byte for byte.

But for the device: one of another kind rounds otherwise, and its result is as good.
"""

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from models import catalog
from models.catalog import Endpoint
from models.schema import OutputFormat, UpscaleRequest
from models.version import VERSION
from scheduler import hub
from scheduler.files.signing import SEALED
from scheduler.ledger.jobs import Claimed
from scheduler.settings import Settings
from workers import source
from workers.stock import Stock


class Recipes:
    """Writes recipes, and says which weights a pipeline has; any thread may ask.

    The digest of a file of weights is taken once in a process: like a pipeline that is resident,
    it stays what it was until whoever replaces the file starts the workers anew.
    """

    def __init__(self, stock: Stock, settings: Settings) -> None:
        self._stock = stock
        self._settings = settings
        self._digests: dict[Path, str] = {}
        self._digesting = threading.Lock()

    def weights(self, pipeline: str) -> dict[str, str]:
        """Return the SHA-256 of each file that a pipeline is made of, and of those it borrows.

        By name below the folder of weights; none where it needs none.

        Raises:
            WeightsError: A file is missing.
        """
        _, *lent = self._endpoints(catalog.part(pipeline)[0])
        pipelines = [pipeline, *(each.pipelines()[0] for each in lent)]
        return {
            str(path.relative_to(self._folder)): self._digest(path)
            for path in sorted({path for each in pipelines for path in self._files(each)})
        }

    def _endpoints(self, name: str) -> list[Endpoint]:
        """Return an endpoint, and those whose pipelines it borrows."""
        endpoint = self._stock.endpoint(name)
        return [endpoint, *map(self._stock.endpoint, self._stock.options(endpoint).borrows())]

    @property
    def _folder(self) -> Path:
        assert self._stock.folder is not None, "without it no pipeline has files"
        return self._stock.folder

    def _files(self, pipeline: str) -> Iterator[Path]:
        """Yield a pipeline's files; one in a folder of its own stands for all that lie there."""
        found = self._stock.weights(pipeline)
        for path in found.files.values() if found is not None else ():
            manifest, name, *rest = path.relative_to(self._folder).parts
            if rest:
                inside = (self._folder / manifest / name).rglob("*")
                yield from (each for each in inside if each.is_file())
            else:
                yield path

    def _digest(self, path: Path) -> str:
        with self._digesting:  # whoever comes second waits, and does not read it as well
            if path not in self._digests:
                self._digests[path] = hub.digest(path)
            return self._digests[path]

    def recipe(
        self, job: Claimed, request: UpscaleRequest, data: bytes, weights: Mapping[str, str]
    ) -> bytes | None:
        """Return the digest of all that decides the result of a job with this input.

        A seed that nobody chose is not among it: the arguments have none.

        Returns:
            32 bytes; None where results are not to be reused, where arguments name further files,
            whose bytes are not known here, and where the result can be read by one job's key only.
        """
        if not job.options.get("reuse") or not self._settings.reuse_s:
            return None
        if source.others(request) or job.options.get(SEALED):
            return None
        lossless = request.encoding() is OutputFormat.PNG
        parts = {
            "input": hashlib.sha256(data).hexdigest(),
            "endpoint": job.endpoint,
            "arguments": job.arguments,
            "options": {
                each.id: self._stock.options(each).model_dump(mode="json")
                for each in self._endpoints(job.endpoint)
            },
            "quality": None if lossless else self._settings.jpeg_quality,
            "weights": dict(weights),
            "version": VERSION,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).digest()
