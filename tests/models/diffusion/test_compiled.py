"""Which calls are compiled, how often, and that it changes nothing but rounding."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch._inductor import config as inductor

from models.diffusion.compiled import Choice, Shapes, check_compiler
from models.diffusion.unet import (
    SIZES_WIDTH,
    Steered,
    UnetConfig,
    build_controlnet,
    build_unet,
)
from models.errors import CompilerMissing

pytestmark = [
    pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning"),  # torch's own
    pytest.mark.timeout(300),  # compilers take their time on a busy machine
]

CONFIG = UnetConfig(
    channels=(32,),
    resnets=1,
    attends=(True,),
    heads=(2,),
    context_width=32,
    linear=False,
    added_width=32 + 6 * SIZES_WIDTH,  # as Stable Diffusion XL, which is told most
)
SHAPES = Shapes(height=40, width=32, batch=2)


@pytest.fixture
def compilations() -> Iterator[list[torch.fx.GraphModule]]:
    """Have graphs run as they are, and list them: what is counted is how many there are."""
    found: list[torch.fx.GraphModule] = []

    def note(graph: torch.fx.GraphModule, _inputs: object, **_options: object):
        found.append(graph)
        return graph.forward

    torch.compiler.set_default_backend(note)
    yield found
    torch.compiler.set_default_backend("inductor")
    torch.compiler.reset()


def make_steered(compiled: Shapes | None) -> Steered:
    torch.manual_seed(0)
    unet, control = build_unet(CONFIG), build_controlnet(replace(CONFIG, hint_channels=(16, 32)))
    for each in control.parameters():
        nn.init.normal_(each, std=0.2)  # its last layers begin with nothing
    return Steered(unet, control, compiled=compiled).eval()


@torch.inference_mode()
def predict(steered: Steered, *, strengths: Sequence[float], timestep: float = 200.5) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    latent, hint, prompt, whole = (
        torch.randn(1, *shape, generator=generator)
        for shape in ((4, 32, 32), (32, 32, 32), (77, 32), (32,))
    )
    added = {"text_embeds": whole, "time_ids": torch.tensor([[256.0, 256, 0, 0, 256, 256]])}
    return steered(latent, torch.tensor([timestep]), prompt, hint, strengths, added)


class Small(nn.Module):
    """What takes a compiler the least time, and rounds."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(2, 4)

    def forward(self, latent: Tensor, _prompt: Tensor) -> Tensor:
        return nn.functional.silu(self.norm(latent))


@torch.inference_mode()
def test_compilations_are_bounded_by_the_shapes_whatever_comes(compilations):
    network = Small()
    choose = Choice(network, network, SHAPES)
    compilations.clear()  # that of the check
    sizes = [(1, 32, 32), (1, 40, 32), (2, 32, 32), (2, 40, 32)]
    others = [(1, 33, 32), (3, 32, 32), (1, 32, 40), (1, 8, 8), (2, 64, 64)]
    prompt = torch.zeros(1, 77, 8)

    for batch, height, width in 2 * (others + sizes):
        latent = torch.rand(batch, 4, height, width)
        unet, controlnet = choose(latent, prompt)
        unet(latent, prompt)
        controlnet(latent, prompt)
        assert (unet is network) == ((batch, height, width) in others)
    longer = choose(latent, torch.zeros(1, 154, 8))

    assert len(compilations) == 2 * SHAPES.count == 2 * len(sizes)
    assert longer.unet is network


def test_of_the_real_networks_nothing_but_a_shape_makes_another_compilation(compilations):
    """Neither a timestep, nor strengths, nor a LoRA that comes or goes, nor a move and back."""
    steered, plain = make_steered(SHAPES), make_steered(None)
    compilations.clear()

    for factor in (1.0, 1.1):
        with torch.no_grad():
            for network in (steered, plain):
                for each in network.unet.parameters():
                    each.data.copy_(each * factor)
                    each.data = each.data.clone()
        for timestep, strength in ((3.0, 0.1), (999.0, 0.9)):
            given = {"timestep": timestep, "strengths": (strength,) * 3}
            made, expected = (predict(each, **given) for each in (steered, plain))
            torch.testing.assert_close(made, expected)
    assert len(compilations) == 2

    predict(steered, strengths=(0.0, 0.0, 0.0))
    assert len(compilations) == 3, "a UNet that nothing is added to is another"


@torch.inference_mode()
def test_compiled_kernels_make_the_same_but_for_rounding(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch.manual_seed(0)
    network = Small()
    latent, prompt = torch.randn(1, 4, 32, 32), torch.randn(1, 77, 8)

    with inductor.patch(compile_threads=1):
        unet, _ = Choice(network, network, SHAPES)(latent, prompt)
        made = unet(latent, prompt)

    assert unet is not network
    assert list(tmp_path.rglob("*.so")), "kernels were made"
    torch.testing.assert_close(made, network(latent, prompt), atol=1e-5, rtol=1e-5)


def test_a_worker_without_a_compiler_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    none = inductor.patch({"cpp.cxx": ("no-such-compiler",)})

    with none, pytest.raises(CompilerMissing, match="InvalidCxxCompiler"):
        check_compiler(torch.device("cpu"))
