"""The stages of a real job: fetch, decode | upscale | encode, store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from pydantic import ValidationError

from models import canvas
from models.errors import ArgumentInvalid, UnknownEndpoint
from models.image import Picture, Pixels
from models.schema import Size, UpscaleRequest
from models.upscaler import BatchUpscaler, Context, Result, Upscaler, Work
from scheduler import arguments
from scheduler.errors import DestinationUnwritable
from scheduler.files import sealing
from scheduler.files.signing import Signer
from scheduler.ledger.jobs import Claimed, Ending
from scheduler.ledger.session import Ledger
from scheduler.settings import Settings
from scheduler.storage import Storage
from workers import codec, outcome, source
from workers.admission import Admission
from workers.chronicle import Chronicle
from workers.codec import Header
from workers.larder import Larder
from workers.life import Life
from workers.outcome import Story
from workers.recipe import Recipes
from workers.residency import Residency
from workers.shortcuts import Shortcuts
from workers.source import Input
from workers.stages import Stages, Together
from workers.stock import Stock
from workers.storeroom import Product, Storeroom, places


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """A job ready for the device.

    Attributes:
        request: Its checked arguments.
        picture: The decoded input.
        size: Of every image that the request promises.
        input: What the outcome says of the input.
        files: Where the request's other files are, by field.
        weights: The digests of the pipeline's weights, by file.
        recipe: What equal jobs find its result by; None where they are not to.
    """

    request: UpscaleRequest
    picture: Picture
    size: Size
    input: Mapping[str, Any]
    files: Mapping[str, Path]
    weights: Mapping[str, str]
    recipe: bytes | None


@dataclass(frozen=True, kw_only=True)
class Enlarged:
    """A job that is done with the device."""

    fetched: Fetched
    result: Result
    tile_divisor: int


class Workshop:
    """Does real jobs. Its methods are the stages; each runs on the threads that the engine says."""

    def __init__(
        self,
        settings: Settings,
        *,
        worker: str,
        stock: Stock,
        ledger: Ledger,
        storage: Storage,
        storeroom: Storeroom,
        residency: Residency,
        chronicle: Chronicle,
    ) -> None:
        self._settings = settings
        self._chronicle = chronicle
        self._worker = worker
        self._endpoints = stock.endpoints
        self._storage = storage
        self._storeroom = storeroom
        self._residency = residency
        self._larder = Larder(storage, settings)
        self._shortcuts = Shortcuts(ledger, storage, storeroom, worker=worker)
        self._recipes = Recipes(stock, settings)
        self._admission = Admission(settings.inflight_bytes)

    def stages(self) -> Stages[Fetched, Enlarged]:
        """Return the stages for the engine."""
        together = Together(has_room=self.has_room, upscale=self.upscale_together)
        return Stages(fetch=self.fetch, upscale=self.upscale, store=self.store, together=together)

    def fetch(self, life: Life) -> Fetched | Ending:
        """Read and decode the input, once there is room for it and for the result.

        A job whose result is there already, or can be copied, ends here.
        """
        job = life.job
        self._chronicle.say(life, "Fetching the image")
        request = self._request(job)
        self._check_destination(job)
        ending = self._shortcuts.existing(job, request)
        if ending is not None:
            return ending
        with life.timed("fetch_s"):
            found = source.fetch(self._storage, job, max_bytes=self._settings.max_input_bytes)
        life.etag = source.etag_to_hold(job, found)
        header = codec.probe(found.data)
        source.refuse_result(job, found)
        ending = self._shortcuts.replaced_before(job, found, header, request.encoding())
        if ending is not None:
            return ending
        size = self._result_size(request, header)
        about = _about(job, found, header)
        weights = self._recipes.weights(job.pipeline)
        recipe = self._recipes.recipe(job, request, found.data, weights)
        ending = self._shortcuts.reused(life, recipe, request.encoding(), about)
        if ending is not None:
            return ending
        life.reservation = self._admission.reserve(
            header.decoded_bytes + _grown(header, size) * request.image_count(),
            life.check_cancelled,
        )
        with life.timed("decode_s"):
            picture = codec.decode(found.data, max_pixels=self._settings.max_input_pixels)
        self._chronicle.say(life, _plan(header.size, size))
        return Fetched(
            request=request,
            picture=picture,
            size=size,
            input=about,
            files=self._fetch_others(life, request),
            weights=weights,
            recipe=recipe,
        )

    def _fetch_others(self, life: Life, request: UpscaleRequest) -> Mapping[str, Path]:
        """Have the request's other files here for as long as the job is: weights, and the rest."""
        addresses = source.others(request)
        weights = source.weights_among(request, addresses)
        plain = {field: addresses[field] for field in addresses.keys() - weights.keys()}
        with life.timed("fetch_s"):
            found = {
                field: source.fetch_weights(self._larder, wish, life)
                for field, wish in weights.items()
            }
            if plain:
                life.folder = TemporaryDirectory(prefix="enlarger-job-")
                found |= source.fetch_others(
                    self._storage,
                    plain,
                    Path(life.folder.name),
                    max_bytes=self._settings.max_upload_bytes,
                )
        return found

    def upscale(self, life: Life, fetched: Fetched) -> Enlarged:
        """Run the model, on the device thread."""
        self._chronicle.say(life, f"Enlarging with {life.job.pipeline}")
        work = partial(self._run, life, fetched)
        result, divisor = self._residency.enlarge(life.job.pipeline, work)
        return Enlarged(fetched=fetched, result=result, tile_divisor=divisor)

    def has_room(
        self, group: Sequence[tuple[Life, Fetched]], waiting: tuple[Life, Fetched]
    ) -> bool:
        """Tell whether jobs are for one endpoint, and together no more than it takes in a call."""
        everyone = [*group, waiting]
        if len({life.job.pipeline for life, _ in everyone}) > 1:
            return False
        pixels = sum(each.picture.width * each.picture.height for _, each in everyone)
        endpoint = self._endpoints[waiting[0].job.endpoint]
        return pixels <= endpoint.batch_pixels and len(everyone) <= endpoint.batch_jobs

    def upscale_together(self, group: Sequence[tuple[Life, Fetched]]) -> list[Enlarged | Exception]:
        """Run the model's batch form, on the device thread."""
        for life, _ in group:
            self._chronicle.say(life, f"Enlarging with {life.job.pipeline}")
        work = [
            Work(each.picture, each.request, self._context(life, each, 1)) for life, each in group
        ]
        with self._residency.resident(group[0][0].job.pipeline) as upscaler:
            # The catalogue says that it has a batch form.
            results = cast("BatchUpscaler", upscaler).upscale_together(work)
        return [
            result
            if isinstance(result, Exception)
            else Enlarged(fetched=fetched, result=result, tile_divisor=1)
            for (_, fetched), result in zip(group, results, strict=True)
        ]

    def store(self, life: Life, enlarged: Enlarged) -> Ending:
        """Encode, check and store every image, and only then say that the job succeeded."""
        self._chronicle.say(life, "Storing the result")
        fetched, products = enlarged.fetched, _products(enlarged)
        fields = [product.field for product in products]
        addresses = places(life.job, fields, fetched.request.encoding())
        stored = [
            self._storeroom.keep(life, product, address)
            for product, address in zip(products, addresses, strict=True)
        ]
        story = Story(
            body=self._body(life.job, enlarged.result),
            input=fetched.input,
            timings={**life.timings, "device_s": life.device_s},
            worker=self._worker,
            weights=fetched.weights,
            tile_divisor=enlarged.tile_divisor,
            notes={} if sealing.is_hidden(life.job.arguments) else enlarged.result.notes,
        )
        for name, note in story.notes.items():
            self._chronicle.say(life, f"{name}: {note}")
        ending = outcome.succeeded(life.job, stored, story, life.device_s)
        return replace(ending, made=outcome.made(life.job, fetched.recipe, stored, story))

    def _body(self, job: Claimed, result: Result) -> Mapping[str, Any]:
        """Return the result's own fields, sealed where the request's were."""
        body = {**result.body, "seed": result.seed}
        if not sealing.is_hidden(job.arguments):
            return body
        return sealing.hide(Signer.of(self._settings), body, place=str(job.id))

    def _request(self, job: Claimed) -> UpscaleRequest:
        """Build the request.

        Raises:
            UnknownEndpoint: It is not served here.
            ArgumentInvalid: The arguments are not the endpoint's; names the first that isn't.
            SettingsInvalid: They are sealed, and this worker has no key.
        """
        if job.endpoint not in self._endpoints:
            raise UnknownEndpoint(job.endpoint, known=list(self._endpoints))
        request = self._endpoints[job.endpoint].request_class()
        given = job.arguments
        if sealing.is_hidden(given):
            given = sealing.reveal(Signer.of(self._settings), given, place=job.destination)
        try:
            return request.model_validate({**given, arguments.IMAGE: job.source})
        except ValidationError as exc:
            arguments.checked(job.endpoint, given)  # raises as well, and says it better
            message = f"arguments: {exc}"
            raise ArgumentInvalid(message, field="arguments") from exc

    def _check_destination(self, job: Claimed) -> None:
        """Refuse to replace the source, unless that was asked for."""
        if job.options.get("in_place"):
            return
        readings = [job.source, job.source_alternative or job.source]
        if any(self._storage.is_same_object(each, job.destination) for each in readings):
            reason = (
                f"destination: {job.destination} is the source itself; choose another destination, "
                "or say --in-place"
            )
            raise DestinationUnwritable(reason, field="destination")

    def _result_size(self, request: UpscaleRequest, header: Header) -> Size:
        """Return the size of the result.

        Raises:
            RequestError: The input, or the result, is over a limit.
        """
        request.check_size(header.size)
        size = request.output_size(header.size)
        canvas.check_limits(
            header.size,
            size,
            request.working_size(header.size),
            max_input_pixels=self._settings.max_input_pixels,
            max_output_pixels=self._settings.max_output_pixels,
        )
        canvas.check_encodable(size, request.encoding())
        return size

    def _run(self, life: Life, fetched: Fetched, upscaler: Upscaler, tile_divisor: int) -> Result:
        context = self._context(life, fetched, tile_divisor)
        return upscaler.upscale(fetched.picture, fetched.request, context)

    def _context(self, life: Life, fetched: Fetched, tile_divisor: int) -> Context:
        job = life.job
        assert job.seed is not None, "every job's seed is drawn when it is submitted"
        return Context(
            seed=job.seed,
            progress=partial(self._chronicle.progress, life),
            check_cancelled=life.check_cancelled,
            borrow=self._residency.borrow,
            files=fetched.files,
            tile_divisor=tile_divisor,
        )


def _grown(header: Header, size: Size) -> int:
    """Return the bytes that the decoded picture will have once it has grown to `size`."""
    return (
        header.decoded_bytes * size.width * size.height // (header.size.width * header.size.height)
    )


def _about(job: Claimed, found: Input, header: Header) -> dict[str, Any]:
    return {
        **({"address": found.address} if found.address != job.source else {}),
        "width": header.size.width,
        "height": header.size.height,
        "bytes": len(found.data),
        "etag": found.etag,
    }


def _products(enlarged: Enlarged) -> list[Product]:
    """Return the images in order, and then what further pictures there are."""
    fetched, result = enlarged.fetched, enlarged.result
    picture = replace(fetched.picture, alpha=None) if result.opaque else fetched.picture
    images = [(None, pixels, fetched.size) for pixels in result.images]
    further = [(name, pixels, _size(pixels)) for name, pixels in result.further.items()]
    return [
        Product(
            pixels=pixels,
            source=picture,
            size=size,
            encoding=fetched.request.encoding(),
            seed=result.seed,
            flagged=result.flagged,
            weights=fetched.weights,
            field=name,
        )
        for name, pixels, size in (*images, *further)
    ]


def _size(pixels: Pixels) -> Size:
    height, width, _ = pixels.shape
    return Size(width, height)


def _plan(size: Size, promised: Size) -> str:
    return f"Read {size.width}x{size.height}; to become {promised.width}x{promised.height}"
