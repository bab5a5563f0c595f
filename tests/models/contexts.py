"""Contexts to run an upscaler in without an engine, and upscalers to run in them."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NoReturn

from models.catalog import Endpoint, find, load
from models.checkpoint.manifest import LocalWeights, look
from models.options import NoOptions
from models.schema import UpscaleRequest
from models.upscaler import Context, Result, Upscaler, Work
from tests.checkpoints import write_seedvr2
from tests.models.ccsr.small import write_ccsr
from tests.models.chain_of_zoom.small import write_chain_of_zoom
from tests.models.clarity.small import write_clarity
from tests.models.creative.small import write_creative
from tests.models.esrgan.small import write_esrgan

WRITERS: dict[str, Callable[[Path], Path]] = {
    "ccsr": write_ccsr,
    "chain-of-zoom": write_chain_of_zoom,
    "clarity": write_clarity,
    "creative": write_creative,
    "esrgan": write_esrgan,
    "seedvr": write_seedvr2,
}
"""What writes small random weights, by the name of their manifest."""

QUICK: dict[str, dict[str, object]] = {
    "fal-ai/ccsr": {
        "tile_diffusion": "mix",
        "tile_diffusion_size": 64,
        "tile_diffusion_stride": 64,
        "steps": 10,
        "t_max": 0.7,
        "t_min": 0.6,
    },
    "fal-ai/chain-of-zoom": {"scale": 1},
    "fal-ai/clarity-upscaler": {"num_inference_steps": 4},
    "fal-ai/creative-upscaler": {"num_inference_steps": 2, "skip_ccsr": True, "prompt": "owl"},
}
"""Arguments that make a request of an endpoint quick, where its defaults work on 512 pixels."""

CHOSEN: dict[str, dict[str, object]] = {"fal-ai/creative-upscaler": {"captioner": "none"}}
"""What an operator of small machines chooses, where the defaults take seconds to import."""


def make_request(endpoint: Endpoint) -> UpscaleRequest:
    """Return a request of few arguments, and quick."""
    return endpoint.request_class()(image_url="picture.png", **QUICK.get(endpoint.id, {}))


def make_context(**overrides) -> Context:
    """Return a context that wants no progress and cancels nothing."""
    defaults = {
        "seed": 1,
        "progress": lambda fraction, stage: None,
        "check_cancelled": lambda: None,
        "borrow": _borrow,
    }
    return Context(**defaults | overrides)


def load_upscaler(endpoint: str, folder: Path) -> Upscaler:
    """Load an endpoint's pipeline on the CPU, with small random weights where it needs any.

    Args:
        endpoint: Its id.
        folder: Where weights are written, unless they are there already.
    """
    found = find(endpoint)
    return load(found.pipeline).load(
        _weights(found, folder / found.id),
        options=_options(found),
        device="cpu",
        dtype="float32",
    )


shared_upscaler = cache(load_upscaler)
"""The same, once for all tests of a process: no job changes an upscaler."""


def lender(folder: Path) -> Callable[[str, Work], Result]:
    """Return what lends an upscaler any other, with small random weights."""
    return lambda endpoint, work: shared_upscaler(endpoint, folder).upscale(*work)


def _options(endpoint: Endpoint) -> NoOptions:
    return endpoint.options_class()(**CHOSEN.get(endpoint.id, {}))


def _weights(endpoint: Endpoint, folder: Path) -> LocalWeights | None:
    """Write and find the files of an endpoint's default variant."""
    manifest = endpoint.manifest()
    if manifest is None:
        return None
    if not folder.exists():
        WRITERS[manifest.name](folder)
    variant = manifest.variant(None)
    return LocalWeights(variant=variant.name, files=look(_options(endpoint).parts(variant), folder))


def _borrow(endpoint: str, _work: Work) -> NoReturn:
    message = f"nothing lends {endpoint} here"
    raise AssertionError(message)
