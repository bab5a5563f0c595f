"""What an operator chooses about the Clarity upscaler. Torch-free."""

from collections.abc import Mapping
from enum import StrEnum

from pydantic import Field

from models.checkpoint.manifest import Part, Variant
from models.clarity import weights
from models.diffusion import weights as shared
from models.diffusion.enlarging import Enlarger
from models.options import NoOptions


class Sampler(StrEnum):
    """How a latent is sampled."""

    DPMPP_3M_SDE = "dpmpp_3m_sde"
    DPMPP_2M = "dpmpp_2m"


class ClarityOptions(NoOptions):
    """Which files make up the model, and how large its tiles are.

    Attributes:
        base: The checkpoint of Stable Diffusion 1.5, a file's name without suffix, or a folder in
            diffusers' layout.
        loras: Always applied, by name, with their weights.
        offered_loras: Those that a prompt may ask for, as in <lora:name:0.5>.
        inversions: Textual inversions that prompts may name.
        negative_suffix: Appended to every negative prompt.
        enlarger: See there.
        sampler: See there.
        tile_width: Of a tile of the latent, in cells of 8 pixels; smaller tiles invent more.
        tile_height: Likewise.
        tile_batch: Tiles that go through the networks at once.
        vae_tile: The longest side that is encoded or decoded at once, in pixels.
        safety_checker: Whether requests can have their results checked. Without, none are, and the
            checker's weights are not needed.
        compiled: Whether UNet and ControlNet are compiled for the commonest shapes of tiles.
    """

    base: str = Field(default="juggernaut_reborn", pattern=r"^[\w.-]+$")
    loras: Mapping[str, float] = Field(default={"more_details": 0.5, "SDXLrender_v2.0": 1.0})
    offered_loras: tuple[str, ...] = Field(default=())
    inversions: tuple[str, ...] = Field(default=("JuggernautNegative-neg",))
    negative_suffix: str = Field(default=" JuggernautNegative-neg")
    enlarger: Enlarger = Field(default=Enlarger.ESRGAN)
    sampler: Sampler = Field(default=Sampler.DPMPP_3M_SDE)
    tile_width: int = Field(default=112, ge=16, le=512, multiple_of=8)
    tile_height: int = Field(default=144, ge=16, le=512, multiple_of=8)
    tile_batch: int = Field(default=4, ge=1, le=64)
    vae_tile: int = Field(default=1024, ge=128, le=8192, multiple_of=64)
    safety_checker: bool = Field(default=True)
    compiled: bool = Field(default=False)

    def parts(self, variant: Variant) -> tuple[Part, ...]:
        """Return the files that these choices need."""
        always = {part.name: part for part in variant.parts}
        named = [shared.lora(name) for name in (*self.loras, *self.offered_loras)]
        named += [weights.inversion(name) for name in self.inversions]
        wanted = [shared.base(self.base), always["vae"], always["controlnet"], *named]
        return (*wanted, always["safety"]) if self.safety_checker else tuple(wanted)

    def borrows(self) -> tuple[str, ...]:
        """Name the endpoint that enlarges."""
        return (self.enlarger.endpoint,)
