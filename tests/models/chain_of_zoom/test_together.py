"""Jobs of a bundle go step by step together, with a language model that looks at every frame."""

from itertools import groupby

import numpy as np
import pytest

from models.chain_of_zoom import schema
from models.chain_of_zoom.options import ChainOfZoomOptions, Prompter
from models.chain_of_zoom.pipeline import ChainOfZoomUpscaler
from models.chain_of_zoom.schema import ChainOfZoomRequest
from models.chain_of_zoom.weights import MANIFEST
from models.checkpoint.manifest import LocalWeights, look
from models.errors import Cancelled
from models.upscaler import Result, Work
from tests.models.chain_of_zoom.small import write_chain_of_zoom, write_language
from tests.models.contexts import make_context
from tests.pictures import make_picture

(VARIANT,) = MANIFEST.variants


@pytest.fixture(scope="module")
def upscaler(tmp_path_factory) -> ChainOfZoomUpscaler:
    folder = write_language(write_chain_of_zoom(tmp_path_factory.mktemp("weights")))
    weights = LocalWeights(variant=VARIANT.name, files=look(VARIANT.parts, folder))
    options = ChainOfZoomOptions(prompter=Prompter.VLM)
    return ChainOfZoomUpscaler.load(weights, options=options, device="cpu", dtype="float32")


@pytest.fixture(autouse=True)
def _small_frames(monkeypatch) -> None:
    monkeypatch.setattr(schema, "LEAST_SIDE", 64)


def work(size: tuple[int, int], steps: int, *, stopped_after: int = 10**9, **arguments) -> Work:
    """Return a job; one that is stopped stands that many of its checks, and no more."""
    checks = iter(range(stopped_after))

    def check() -> None:
        if next(checks, None) is None:
            raise Cancelled

    request = ChainOfZoomRequest(image_url="picture.png", scale=steps, **arguments)
    return Work(make_picture(*size), request, make_context(check_cancelled=check))


@pytest.fixture
def calls(upscaler):
    """List the networks in the order in which they are called, by what they do."""
    seen: list[str] = []
    networks = {
        "look": upscaler.prompter._network.model.visual,
        "read": upscaler.prompts._encoders.t5,
        "step": upscaler.enhancer.transformer,
    }
    hooks = [
        network.register_forward_pre_hook(lambda *_, name=name: seen.append(name))
        for name, network in networks.items()
    ]
    yield seen
    for hook in hooks:
        hook.remove()


def jobs(**arguments) -> list[Work]:
    return [
        work((64, 64), 2, **arguments),
        work((70, 50), 1, user_prompt="red fox"),
        work((64, 80), 2, center_x=0.2, seed=5),
    ]


def test_each_job_of_a_bundle_ends_as_if_it_were_alone(upscaler, calls):
    alone = [upscaler.upscale(*each) for each in jobs()]
    calls.clear()
    upscaler.prompts._known.clear()

    together = upscaler.upscale_together(jobs())

    for one, other in zip(alone, together, strict=True):
        assert (one.seed, one.body, len(one.images)) == (other.seed, other.body, len(other.images))
        assert all(map(np.array_equal, one.images, other.images))
    phases = [(name, len(list(group))) for name, group in groupby(calls)]
    assert phases == [("look", 3), ("read", 1), ("step", 3), ("look", 2), ("read", 1), ("step", 2)]


def test_what_the_language_model_says_changes_the_pictures(upscaler, monkeypatch):
    picture, request, context = work((64, 64), 1, user_prompt="fox")
    asked = []
    embed = upscaler.prompts.embed
    monkeypatch.setattr(
        upscaler.prompts, "embed", lambda texts: asked.extend(texts) or embed(texts)
    )
    looking = upscaler.upscale(picture, request, context)
    blind = ChainOfZoomUpscaler(
        enhancer=upscaler.enhancer, prompts=upscaler.prompts, options=upscaler.options
    ).upscale(picture, request, context)

    assert asked[0].endswith(", fox,")
    assert asked[1] == "fox"
    assert not np.array_equal(looking.images[0], blind.images[0])


@pytest.mark.parametrize("stopped_after", [0, 60], ids="check {}".format)
def test_a_job_that_ends_early_harms_no_other(upscaler, stopped_after):
    expected = [upscaler.upscale(*each) for each in jobs()[1:]]

    first, *others = upscaler.upscale_together(jobs(stopped_after=stopped_after))

    assert isinstance(first, Cancelled)
    assert first.__traceback__ is None  # its frames hold tensors
    for one, other in zip(expected, others, strict=True):
        assert isinstance(other, Result)
        assert all(map(np.array_equal, one.images, other.images))


def test_what_one_job_raises_is_raised_where_it_is_alone(upscaler):
    with pytest.raises(Cancelled) as caught:
        upscaler.upscale(*work((64, 64), 1, stopped_after=3))

    assert caught.value.__traceback__ is not None
