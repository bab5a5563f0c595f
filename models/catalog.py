"""The endpoints by id. Torch-free: names modules, imports a schema only when it is asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from pydantic import BaseModel

from models.checkpoint.manifest import Manifest
from models.errors import UnknownEndpoint
from models.options import NoOptions
from models.schema import UpscaleRequest


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One row of the catalogue.

    Attributes:
        id: The public name, such as `fal-ai/ccsr`.
        summary: One line for people.
        schema: `module:class` of the request, torch-free.
        pipeline: `module:class` of the upscaler; only workers import it.
        result: `module:class` of the result's body, torch-free.
        weights: `module:NAME` of the manifest of the files that it needs; empty where none are.
        options: `module:class` of what an operator may choose about it.
        chooser: The field of a request that names a variant of the weights.
        tiled: Whether its upscaler works in tiles, made smaller by `Context.tile_divisor`.
        batch_pixels: Pictures of several jobs go through its `upscale_together` as one call while
            they have no more input pixels in all; 0 where it has no such form.
        batch_jobs: And while there are no more of them, since all wait for the last.
    """

    id: str
    summary: str
    schema: str
    pipeline: str
    result: str = "models.schema:SingleResult"
    weights: str = ""
    options: str = "models.options:NoOptions"
    chooser: str = "variant"
    tiled: bool = False
    batch_pixels: int = 0
    batch_jobs: int = 1024

    def request_class(self) -> type[UpscaleRequest]:
        """Import and return the request's class."""
        request: type[UpscaleRequest] = load(self.schema)
        return request

    def result_class(self) -> type[BaseModel]:
        """Import and return the class that describes the result's body."""
        result: type[BaseModel] = load(self.result)
        return result

    def manifest(self) -> Manifest | None:
        """Import and return the manifest of its weights; None where it needs none."""
        found: Manifest | None = load(self.weights) if self.weights else None
        return found

    def options_class(self) -> type[NoOptions]:
        """Import and return the class of the operator's choices."""
        options: type[NoOptions] = load(self.options)
        return options

    def pipelines(self) -> tuple[str, ...]:
        """Name what can be resident for it: one pipeline for each variant of its weights."""
        manifest = self.manifest()
        if manifest is None:
            return (self.id,)
        return tuple(_pipeline(self.id, variant.name) for variant in manifest.variants)

    def pipeline_for(self, arguments: Mapping[str, Any]) -> str:
        """Name the pipeline that a request with these checked arguments needs."""
        manifest = self.manifest()
        if manifest is None:
            return self.id
        return _pipeline(self.id, manifest.variant(arguments.get(self.chooser)).name)


MARK = "#"
"""Between an endpoint's id and a variant of its weights, in the name of a pipeline."""


def _pipeline(endpoint: str, variant: str) -> str:
    return f"{endpoint}{MARK}{variant}"


def part(pipeline: str) -> tuple[str, str | None]:
    """Return the endpoint's id and the variant that a pipeline's name is made of."""
    endpoint, mark, variant = pipeline.partition(MARK)
    return endpoint, variant if mark else None


def load(path: str) -> Any:  # noqa: ANN401 - whatever the path names
    """Import what `module:name` names."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


ENDPOINTS = {
    endpoint.id: endpoint
    for endpoint in (
        Endpoint(
            id="enlarger/compact",
            summary="A small convolutional network, built in: sharper than resampling, by 1 to 8.",
            schema="models.compact.schema:CompactRequest",
            pipeline="models.compact.pipeline:CompactUpscaler",
            tiled=True,
            batch_pixels=16384,
        ),
        Endpoint(
            id="enlarger/esrgan",
            summary="ESRGAN and its kind, from any checkpoint of the RRDBNet family, by up to 4.",
            schema="models.esrgan.schema:EsrganRequest",
            pipeline="models.esrgan.pipeline:EsrganUpscaler",
            weights="models.esrgan.weights:MANIFEST",
            tiled=True,
        ),
        Endpoint(
            id="enlarger/lanczos",
            summary="Lanczos resampling by any factor: the baseline that needs no weights.",
            schema="models.lanczos.schema:LanczosRequest",
            pipeline="models.lanczos.pipeline:LanczosUpscaler",
        ),
        Endpoint(
            id="fal-ai/ccsr",
            summary="CCSR: restores by diffusion that keeps to what is there, by 1 to 4.",
            schema="models.ccsr.schema:CcsrRequest",
            pipeline="models.ccsr.pipeline:CcsrUpscaler",
            weights="models.ccsr.weights:MANIFEST",
            options="models.ccsr.options:CcsrOptions",
            tiled=True,
        ),
        Endpoint(
            id="fal-ai/chain-of-zoom",
            summary="Chain-of-Zoom: zooms into a point by up to 256, one doubling after another.",
            schema="models.chain_of_zoom.schema:ChainOfZoomRequest",
            pipeline="models.chain_of_zoom.pipeline:ChainOfZoomUpscaler",
            result="models.chain_of_zoom.schema:ChainOfZoomResult",
            weights="models.chain_of_zoom.weights:MANIFEST",
            options="models.chain_of_zoom.options:ChainOfZoomOptions",
            tiled=True,
            batch_pixels=16_777_216,  # all images of all jobs wait in memory
            batch_jobs=8,
        ),
        Endpoint(
            id="fal-ai/clarity-upscaler",
            summary="Clarity: adds the detail that a larger picture would show, by diffusion.",
            schema="models.clarity.schema:ClarityRequest",
            pipeline="models.clarity.pipeline:ClarityUpscaler",
            result="models.clarity.schema:ClarityResult",
            weights="models.clarity.weights:MANIFEST",
            options="models.clarity.options:ClarityOptions",
            tiled=True,
        ),
        Endpoint(
            id="fal-ai/creative-upscaler",
            summary="Creative: restores by CCSR, then adds detail as freely as is asked for.",
            schema="models.creative.schema:CreativeRequest",
            pipeline="models.creative.pipeline:CreativeUpscaler",
            weights="models.creative.weights:MANIFEST",
            options="models.creative.options:CreativeOptions",
            chooser="model_type",
            tiled=True,
        ),
        Endpoint(
            id="fal-ai/seedvr/upscale/image",
            summary="SeedVR2: restores and enlarges in one step of diffusion.",
            schema="models.seedvr2.schema:SeedVr2Request",
            pipeline="models.seedvr2.pipeline:SeedVr2Upscaler",
            weights="models.seedvr2.weights:MANIFEST",
            options="models.seedvr2.options:SeedVr2Options",
            tiled=True,
        ),
    )
}
DEFAULT_ENDPOINT = "enlarger/compact"


def find(endpoint: str) -> Endpoint:
    """Return the catalogue's row for an id.

    Raises:
        UnknownEndpoint: There is none; the message lists those there are.
    """
    try:
        return ENDPOINTS[endpoint]
    except KeyError:
        raise UnknownEndpoint(endpoint, known=list(ENDPOINTS)) from None
