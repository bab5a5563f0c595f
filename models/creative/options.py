"""What an operator chooses about the Creative upscaler. Torch-free."""

from enum import StrEnum

from pydantic import Field

from models.checkpoint.manifest import Part, Variant
from models.creative import weights
from models.creative.recipe import RESTORER
from models.diffusion import weights as shared
from models.diffusion.enlarging import Enlarger
from models.options import NoOptions


class Captioner(StrEnum):
    """What writes the prompt where a request has none."""

    BLIP2 = "blip2"
    """BLIP-2 with a language model of 2.7 billion parameters, as the published endpoint."""
    BLIP = "blip"
    """The large BLIP: for small machines."""
    NONE = "none"
    """Nothing: the prompt is empty then, but for its suffix."""


NAME = r"^[\w.-]+$"


class CreativeOptions(NoOptions):
    """Which files make up the model, and how large its tiles are.

    Attributes:
        base: The checkpoint of Stable Diffusion 1.5, a file's name without suffix, or a folder in
            diffusers' layout.
        detail_lora: What `detail` adds to it; None for none.
        sdxl_base: The checkpoint of Stable Diffusion XL, likewise.
        sdxl_detail_lora: What `detail` adds to it; None for none.
        sdxl_controlnet: A folder in diffusers' layout; without one, `shape_preservation` does
            nothing for Stable Diffusion XL.
        ccsr: Whether pictures can be restored before; without, requests must skip that, and the
            endpoint needs no weights of CCSR's.
        captioner: See there.
        enlarger: What enlarges where that is skipped.
        tile: The side of a tile of Stable Diffusion 1.5's latent, in cells of 8 pixels.
        sdxl_tile: Likewise of XL's.
        tile_batch: Tiles that go through the networks at once.
        vae_tile: The longest side that is encoded or decoded at once, in pixels.
        safety_checker: Whether requests can have their results checked.
        compiled: Whether UNet and ControlNet are compiled for the commonest shapes of tiles.
    """

    base: str = Field(default="juggernaut_reborn", pattern=NAME)
    detail_lora: str | None = Field(default="more_details", pattern=NAME)
    sdxl_base: str = Field(default="sd_xl_base_1.0", pattern=NAME)
    sdxl_detail_lora: str | None = Field(default=None, pattern=NAME)
    sdxl_controlnet: str | None = Field(default=None, pattern=NAME)
    ccsr: bool = Field(default=True)
    captioner: Captioner = Field(default=Captioner.BLIP2)
    enlarger: Enlarger = Field(default=Enlarger.ESRGAN)
    tile: int = Field(default=96, ge=32, le=512, multiple_of=8)
    sdxl_tile: int = Field(default=128, ge=32, le=512, multiple_of=8)
    tile_batch: int = Field(default=4, ge=1, le=64)
    vae_tile: int = Field(default=1024, ge=128, le=8192, multiple_of=64)
    safety_checker: bool = Field(default=True)
    compiled: bool = Field(default=False)

    def parts(self, variant: Variant) -> tuple[Part, ...]:
        """Return the files that these choices need."""
        own = self._xl_parts() if variant.name == weights.SDXL else self._parts()
        safety = (shared.SAFETY,) if self.safety_checker else ()
        said = weights.captioner(self.captioner) if self.captioner is not Captioner.NONE else ()
        return (*own, *safety, *said)

    def _parts(self) -> tuple[Part, ...]:
        detail = (shared.lora(self.detail_lora),) if self.detail_lora else ()
        return (shared.base(self.base), shared.VAE, shared.CONTROLNET, *detail)

    def _xl_parts(self) -> tuple[Part, ...]:
        name, steering = self.sdxl_detail_lora, self.sdxl_controlnet
        detail = (shared.lora(name),) if name else ()
        controlnet = (shared.controlnet(steering, shared.UNKNOWN),) if steering else ()
        return (weights.xl_base(self.sdxl_base), weights.XL_VAE, *controlnet, *detail)

    def detail_of(self, variant: str) -> str | None:
        """Return the name of a variant's detail LoRA."""
        return self.sdxl_detail_lora if variant == weights.SDXL else self.detail_lora

    def tile_of(self, variant: str) -> int:
        """Return the side of a tile of a variant's latent, in cells."""
        return self.sdxl_tile if variant == weights.SDXL else self.tile

    def borrows(self) -> tuple[str, ...]:
        """Name the endpoints that restore and enlarge."""
        return (*((RESTORER,) if self.ccsr else ()), self.enlarger.endpoint)
