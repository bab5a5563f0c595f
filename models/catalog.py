"""The endpoints by id. Torch-free: names modules, imports a schema only when it is asked for."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from models.errors import UnknownEndpoint
from models.schema import UpscaleRequest


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """One row of the catalogue.

    Attributes:
        id: The public name, such as `fal-ai/ccsr`.
        summary: One line for people.
        schema: `module:class` of the request, torch-free.
        pipeline: `module:class` of the upscaler; only workers import it.
        weights: Whether files must be pulled before it is ready.
        tiled: Whether its upscaler works in tiles, made smaller by `Context.tile_divisor`.
        batch_pixels: Pictures of several jobs go through its `upscale_together` as one call while
            they have no more input pixels in all; 0 where it has no such form.
    """

    id: str
    summary: str
    schema: str
    pipeline: str
    weights: bool = False
    tiled: bool = False
    batch_pixels: int = 0

    def request_class(self) -> type[UpscaleRequest]:
        """Import and return the request's class."""
        request: type[UpscaleRequest] = load(self.schema)
        return request


def load(path: str) -> Any:  # noqa: ANN401 - whatever the path names
    """Import what `module:name` names."""
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


ENDPOINTS = {
    endpoint.id: endpoint
    for endpoint in (
        Endpoint(
            id="enlarger/lanczos",
            summary="Lanczos resampling by any factor: the baseline that needs no weights.",
            schema="models.lanczos.schema:LanczosRequest",
            pipeline="models.lanczos.pipeline:LanczosUpscaler",
        ),
        Endpoint(
            id="fal-ai/seedvr/upscale/image",
            summary="SeedVR2: restores and enlarges in one step of diffusion.",
            schema="models.seedvr2.schema:SeedVr2Request",
            pipeline="models.seedvr2.pipeline:SeedVr2Upscaler",
            weights=True,
            tiled=True,
        ),
    )
}
DEFAULT_ENDPOINT = "enlarger/lanczos"


def find(endpoint: str) -> Endpoint:
    """Return the catalogue's row for an id.

    Raises:
        UnknownEndpoint: There is none; the message lists those there are.
    """
    try:
        return ENDPOINTS[endpoint]
    except KeyError:
        raise UnknownEndpoint(endpoint, known=list(ENDPOINTS)) from None
