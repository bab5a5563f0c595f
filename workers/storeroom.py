"""From an enlarged picture to a stored object: encode, check, be sure of the lease, write."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from models.image import Picture, Pixels, reassemble
from models.schema import OutputFormat, Size
from scheduler import naming
from scheduler.errors import ObjectChanged, ObjectExists
from scheduler.files.names import UNKNOWN
from scheduler.files.signing import SEALED, Signer
from scheduler.ledger.jobs import Claimed
from scheduler.settings import Settings
from scheduler.storage import Storage
from scheduler.storage.objects import Stored, checksum_text
from workers import codec
from workers.heartbeat import Lease
from workers.life import Life, Unwanted
from workers.outcome import StoredImage, provenance
from workers.provenance import METADATA_PREFIX


@dataclass(frozen=True, kw_only=True)
class Product:
    """One image on its way into the store.

    Attributes:
        pixels: What the model made: `(H, W, 3)` RGB.
        source: The picture that it was made of, which has the alpha, the profile and the EXIF.
        size: What the request promised.
        encoding: The object's format.
        seed: What every random draw came from.
        flagged: The pipeline blackened it on purpose.
        weights: The digests of what made it, by file.
        field: Its own field in the result; None for one of the images.
    """

    pixels: Pixels
    source: Picture
    size: Size
    encoding: OutputFormat
    seed: int
    flagged: bool
    weights: Mapping[str, str]
    field: str | None = None


class Storeroom:
    """Stores results; the same job always writes the same bytes to the same place."""

    def __init__(self, storage: Storage, lease: Lease, settings: Settings) -> None:
        self._storage = storage
        self._lease = lease
        self._settings = settings

    def keep(self, life: Life, product: Product, address: str) -> StoredImage:
        """Encode one image, check it, and store it.

        Raises:
            ResultImplausible: The encoded bytes do not decode to what was promised.
            Cancelled: Nobody wants it, or the lease would not outlast the upload.
            ObjectExists: The batch must not replace anything, and somebody else's object is there.
            SettingsInvalid: The result is to be sealed, and this worker has no key.
            StorageUnavailable: The store does not answer, or stored other bytes.
        """
        origin = provenance(life.job, seed=product.seed, weights=product.weights)
        with life.timed("encode_s"):
            data = self._encode(product, origin)
        sealed = bool(life.job.options.get(SEALED))
        kept = self._seal(life.job, data) if sealed else data
        self._be_sure_of_the_lease(life)
        with life.timed("store_s"):
            stored = self._write(
                life.job,
                address,
                kept,
                UNKNOWN if sealed else product.encoding.content_type,
                {} if sealed else origin,
            )
        return StoredImage(
            address=address,
            content_type=product.encoding.content_type,
            size_bytes=len(data),
            size=product.size,
            etag=stored.etag,
            checksum=stored.checksum,
            sealed=sealed,
            field=product.field,
        )

    def _seal(self, job: Claimed, data: bytes) -> bytes:
        return Signer.of(self._settings).seal(data, place=str(job.id))

    def copy(
        self, life: Life, earlier: Sequence[StoredImage], encoding: OutputFormat, first: UUID
    ) -> list[StoredImage]:
        """Have the store copy what the job `first` stored, all of it or nothing.

        What lies in its place already is left there. The bytes, and so what they say of their
        origin, stay those of the first job; the object's metadata name this one.

        Raises:
            ObjectMissing: Some of it is gone.
            ObjectChanged: Some of it is no longer what was stored.
            Cancelled: Nobody wants it, or the lease would not outlast the copying.
            RequestError: The store won't copy from there.
            StorageUnavailable: The store does not answer.
        """
        addresses = places(life.job, [image.field for image in earlier], encoding)
        moves = list(zip(earlier, addresses, strict=True))
        for image, address in moves:
            if len(moves) > 1 or image.address == address:
                self._check_unchanged(image)
        self._be_sure_of_the_lease(life)
        with life.timed("store_s"):
            return [self._copied(life.job, image, address, first) for image, address in moves]

    def _check_unchanged(self, image: StoredImage) -> None:
        found = self._storage.stat(image.address)
        if (found.etag, found.size) != (image.etag, image.size_bytes):
            raise ObjectChanged(f"{image.address}: is no longer what was stored there")

    def _copied(self, job: Claimed, image: StoredImage, address: str, first: UUID) -> StoredImage:
        if image.address == address:
            return replace(image, written=False)
        own = {"job": str(job.id), "batch": str(job.batch_id), "endpoint": job.endpoint}
        stored = self._storage.copy(
            image.address,
            address,
            known=image.stored,
            content_type=image.content_type,
            metadata=_metadata(own | {"reused-from": str(first)}),
            within=job.folder,
        )
        return replace(image, address=address, etag=stored.etag)

    def _encode(self, product: Product, origin: Mapping[str, str]) -> bytes:
        data = codec.encode(
            reassemble(product.source, product.pixels),
            product.encoding,
            quality=self._settings.jpeg_quality,
            provenance=origin,
        )
        codec.verify(data, size=product.size, source=product.source, flagged=product.flagged)
        return data

    def _be_sure_of_the_lease(self, life: Life) -> None:
        """Begin no upload that could outlast the lease: by then the job may be somebody else's."""
        if not self._lease.wait_for(self._settings.storage_timeout_s):
            life.give_up(Unwanted.LOST)
        life.check_cancelled()

    def _write(
        self,
        job: Claimed,
        address: str,
        data: bytes,
        content_type: str,
        origin: Mapping[str, str],
    ) -> Stored:
        try:
            return self._storage.write(
                address,
                data,
                content_type=content_type,
                metadata=_metadata(origin),
                only_if_absent=bool(job.options.get("only_if_absent")),
                within=job.folder,
            )
        except ObjectExists:
            ours = self._written_before(address, data)
            if ours is None:
                raise
            return ours

    def _written_before(self, address: str, data: bytes) -> Stored | None:
        """Recognise our own bytes: an earlier attempt stored them, and died before it told."""
        if self._storage.stat(address).size != len(data):
            return None
        there = self._storage.read(address, max_bytes=len(data))
        return stored_as(data, etag=there.etag) if there.data == data else None


def places(job: Claimed, fields: Sequence[str | None], encoding: OutputFormat) -> list[str]:
    """Return where each object goes: the job's destination, or places below it.

    Args:
        job: Whose.
        fields: Of each object, its own field in the result; None for one of the images, which are
            numbered where there are several.
        encoding: Of all.
    """
    suffix, images = encoding.value, fields.count(None)
    return [
        naming.beside(job.destination, name, suffix=suffix)
        if name is not None
        else job.destination
        if images == 1
        else naming.numbered(job.destination, at, suffix=suffix)
        for at, name in enumerate(fields)  # the images come first
    ]


def _metadata(origin: Mapping[str, str]) -> dict[str, str]:
    return {METADATA_PREFIX + name: value for name, value in origin.items()}


def stored_as(data: bytes, *, etag: str) -> Stored:
    """Describe bytes that are in the store already."""
    return Stored(etag=etag, checksum=checksum_text(zlib.crc32(data)), size=len(data))
