"""The files of Chain-of-Zoom. Torch-free.

Sources: the README of bryanswkim/Chain-of-Zoom, whose repository holds the three adapters, and the
repositories on the Hugging Face hub of what they adapt. That of Stable Diffusion 3 wants its terms
accepted before a download and then a token (`HF_TOKEN`). No digest is recorded: the first download
fixes them.
"""

from models.checkpoint.manifest import File, Licence, Manifest, Part, Variant

BASE = "stabilityai/stable-diffusion-3-medium-diffusers"
COMMUNITY = Licence(
    name="Stability AI Community License",
    url="https://huggingface.co/stabilityai/stable-diffusion-3-medium/blob/main/LICENSE.md",
    free=False,
)
MIT = Licence(name="MIT", url="https://opensource.org/license/mit", free=True)
QWEN = "Qwen/Qwen2.5-VL-3B-Instruct"
RESEARCH = Licence(
    name="Qwen Research License (no commercial use)",
    url="https://huggingface.co/Qwen/Qwen2.5-VL-3B-Instruct/blob/main/LICENSE",
    free=False,
)

T5_SHARDS = 2
LANGUAGE_SHARDS = 2


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


def language_part(number: int) -> str:
    """Name the part of a piece of the language model's file, from 1."""
    return f"language {number}"


def _asked(part: str, name: str) -> Part:
    return Part(name=part, files=(File(name=name, repository=QWEN, licence=RESEARCH),))


LANGUAGE = (
    *(
        _asked(language_part(number), f"model-{number:05}-of-{LANGUAGE_SHARDS:05}.safetensors")
        for number in range(1, LANGUAGE_SHARDS + 1)
    ),
    _asked("language config", "config.json"),
    _asked("language tokenizer", "tokenizer.json"),
    _brought("language adapter", "VLM_LoRA/checkpoint-10000/adapter_model.safetensors"),
)
"""What only the language model needs."""

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
                *LANGUAGE,
            ),
        ),
    ),
)
