"""The files of Chain-of-Zoom. Torch-free.

Sources: the README of bryanswkim/Chain-of-Zoom, whose repository holds the two adapters, and the
repository of its base on the Hugging Face hub, which wants its terms accepted before a download
and then a token (`HF_TOKEN`). No digest is recorded: the first download fixes them.
"""

from models.checkpoint.manifest import File, Licence, Manifest, Part, Variant

BASE = "stabilityai/stable-diffusion-3-medium-diffusers"
COMMUNITY = Licence(
    name="Stability AI Community License",
    url="https://huggingface.co/stabilityai/stable-diffusion-3-medium/blob/main/LICENSE.md",
    free=False,
)
MIT = Licence(name="MIT", url="https://opensource.org/license/mit", free=True)

T5_SHARDS = 2


def _base(part: str, *names: str) -> Part:
    files = tuple(File(name=name, repository=BASE, licence=COMMUNITY) for name in names)
    return Part(name=part, files=files)


def _brought(part: str, name: str) -> Part:
    return Part(name=part, files=(File(name=name, repository=None, licence=MIT),))


def _shard(number: int) -> Part:
    """Return a part of T5's file, which was published in two pieces."""
    ending = f"{number:05}-of-{T5_SHARDS:05}.safetensors"
    return _base(
        shard_part(number),
        f"text_encoder_3/model-{ending}",
        f"text_encoder_3/model.fp16-{ending}",
    )


def shard_part(number: int) -> str:
    """Name the part of a piece of T5's file, from 1."""
    return f"t5 {number}"


MANIFEST = Manifest(
    name="chain-of-zoom",
    variants=(
        Variant(
            name="sd3-medium",
            parts=(
                _base("transformer", "transformer/diffusion_pytorch_model.safetensors"),
                _base("vae", "vae/diffusion_pytorch_model.safetensors"),
                _base(
                    "clip l",
                    "text_encoder/model.safetensors",
                    "text_encoder/model.fp16.safetensors",
                ),
                _base(
                    "clip g",
                    "text_encoder_2/model.safetensors",
                    "text_encoder_2/model.fp16.safetensors",
                ),
                *(_shard(number) for number in range(1, T5_SHARDS + 1)),
                _base("t5 tokenizer", "tokenizer_3/tokenizer.json"),
                _brought("adapter", "SR_LoRA/model_20001.pkl"),
                _brought("vae encoder", "SR_VAE/vae_encoder_20001.pt"),
            ),
        ),
    ),
)
