"""What decides a result: two jobs with one recipe have the same result, byte for byte.

But for the device: one of another kind rounds otherwise, and its result is as good.
"""

import hashlib
import json
import threading
from collections.abc import Mapping
from pathlib import Path

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
        """Return the SHA-256 of each file of a pipeline's weights, by its name; none without any.

        Raises:
            WeightsError: A file is missing.
        """
        found = self._stock.weights(pipeline)
        if found is None:
            return {}
        return {path.name: self._digest(path) for path in found.files.values()}

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
        endpoint = self._stock.endpoint(job.endpoint)
        lossless = request.encoding() is OutputFormat.PNG
        parts = {
            "input": hashlib.sha256(data).hexdigest(),
            "endpoint": job.endpoint,
            "arguments": job.arguments,
            "options": self._stock.options(endpoint).model_dump(mode="json"),
            "quality": None if lossless else self._settings.jpeg_quality,
            "weights": sorted(weights.values()),
            "version": VERSION,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).digest()
