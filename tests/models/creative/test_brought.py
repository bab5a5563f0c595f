"""Weights that a request names: used for its job alone, and never trusted."""

import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from models.checkpoint.foreign import check_foreign
from models.creative.schema import CreativeRequest
from models.errors import ArgumentInvalid, WeightsError
from tests.checkpoints import write_tensors
from tests.models.clarity.small import WIDTH, small, write_lora
from tests.models.contexts import make_context
from tests.models.creative.small import load, quick, write_xl_lora
from tests.pictures import make_picture

LORA, BASE, EMBEDDING = "additional_lora_url", "base_model_url", "additional_embedding_url"
UNET = "model.diffusion_model."


def make(upscaler, files: dict[str, Path] | None = None, **arguments) -> np.ndarray:
    found = files or {}
    named = {field: f"https://example.com/a%20b/{path.name}" for field, path in found.items()}
    request: CreativeRequest = quick(**{"scale": 1.0, "creativity": 0.0} | named | arguments)
    context = make_context(files=found)
    return upscaler.upscale(make_picture(16, 16), request, context).images[0]


def test_a_lora_changes_its_own_job_by_its_scale_and_no_other(upscaler, folder, tmp_path):
    files = {LORA: write_lora(tmp_path / "style.safetensors", seed=9)}
    alone = make(upscaler)

    styled = make(upscaler, files)
    after = make(upscaler)
    nothing = make(upscaler, files, additional_lora_scale=0.0)

    assert not np.array_equal(styled, alone)
    assert np.array_equal(after, alone)
    assert np.array_equal(after, make(load(folder, safety_checker=False))), "of a fresh start"
    assert np.array_equal(nothing, alone)


def test_a_base_is_another_one_for_its_own_job(upscaler, folder, tmp_path):
    own = {f"first_stage_model.{name}": each for name, each in small("vae_ft_mse_original").items()}
    bare = _without_vae(small("sd15_single_file", seed=7))
    other, with_vae = (
        {BASE: write_tensors(tmp_path / name, tensors)}
        for name, tensors in (
            ("other.ckpt", bare),
            ("with vae.safetensors", bare | own),
        )
    )
    alone = make(upscaler)

    made = make(upscaler, other)

    assert not np.array_equal(made, alone)
    assert np.array_equal(make(upscaler, with_vae), made), "the usual autoencoder once more"
    assert np.array_equal(make(upscaler), alone)


def _without_vae(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: each for name, each in tensors.items() if not name.startswith("first_stage")}


def test_an_embedding_is_named_by_its_file_and_known_in_its_own_job_only(upscaler, tmp_path):
    vectors = torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(5))
    path = tmp_path / "my owl.pt"
    torch.save({"string_to_param": nn.ParameterDict({"*": nn.Parameter(vectors)})}, path)
    files = {EMBEDDING: path}
    prompt = {"prompt": "a my owl here"}

    plain, named = make(upscaler, **prompt), make(upscaler, files, **prompt)

    assert not np.array_equal(plain, named)
    assert np.array_equal(make(upscaler, **prompt), plain)
    assert np.array_equal(make(upscaler, files), make(upscaler)), "where nothing names it"


def test_layers_of_a_lora_that_are_not_in_the_model_are_counted(upscaler, tmp_path):
    tensors = small("kohya_lora_sd15_rank32", seed=9)
    spare = {f"lora_unet_elsewhere.lora_{way}.weight": torch.ones(4, 4) for way in ("up", "down")}
    path = write_tensors(tmp_path / "more.safetensors", tensors | spare)

    result = upscaler.upscale(
        make_picture(16, 16),
        quick(scale=1.0, creativity=0.0, **{LORA: "https://x/a"}),
        make_context(files={LORA: path}),
    )

    assert result.notes == {"additional_lora_layers_ignored": 1}


def _with(**tensors):
    return lambda: (
        small("sd15_single_file")
        | {name.replace("__", "."): each for name, each in tensors.items()}
    )


@pytest.mark.parametrize(
    ("field", "tensors", "reason"),
    [
        (
            BASE,
            lambda: {
                **small("sd15_single_file"),
                f"{UNET}input_blocks.0.0.weight": torch.zeros(32, 9, 3, 3),
            },
            "no checkpoint of Stable Diffusion 1.5, but a model for inpainting",
        ),
        (BASE, _with(v_pred=torch.zeros(0)), "but a model of v-prediction"),
        (BASE, lambda: {"cond_stage_model.model.x": torch.zeros(1)}, "but Stable Diffusion 2"),
        (
            BASE,
            lambda: {"conditioner.embedders.0.x": torch.zeros(1)},
            "but Stable Diffusion XL",
        ),
        (BASE, lambda: {"lora_unet_x.alpha": torch.zeros(1)}, "but a LoRA"),
        (
            BASE,
            lambda: {
                **small("sd15_single_file"),
                f"{UNET}out.2.weight": torch.zeros(4, 64, 3, 3),
            },
            "of another shape: .*out.2.weight",
        ),
        (
            BASE,
            lambda: {
                **small("sd15_single_file"),
                f"{UNET}out.2.bias": torch.full((4,), float("nan")),
            },
            "holds NaN or infinity",
        ),
        (LORA, lambda: {"conv.weight": torch.zeros(1)}, "is no LoRA"),
        (
            LORA,
            lambda: {
                f"lora_unet_mid_block_attentions_0_proj_in.lora_{way}.weight": torch.zeros(shape)
                for way, shape in (("down", (4, 640)), ("up", (640, 4)))
            },
            "has the shape .* here, and another there",
        ),
        (EMBEDDING, lambda: {"emb_params": torch.zeros(2, 1024)}, "made for another model"),
        (EMBEDDING, lambda: {"emb_params": torch.zeros(76, WIDTH)}, "holds 76 vectors"),
    ],
)
def test_weights_of_another_model_are_the_fault_of_their_field(
    upscaler, tmp_path, field, tensors, reason
):
    path = write_tensors(tmp_path / "given.safetensors", tensors())

    with pytest.raises(ArgumentInvalid, match=rf"(?s)^{field}: .*{reason}") as caught:
        make(upscaler, {field: path})

    assert caught.value.field == field
    assert str(tmp_path) not in str(caught.value)


def test_a_lora_of_xl_is_refused_for_1_5(upscaler, tmp_path):
    path = write_xl_lora(tmp_path / "xl.safetensors")

    with pytest.raises(ArgumentInvalid, match=f"^{LORA}: .*another"):
        make(upscaler, {LORA: path})


class Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit",))


class Huge:
    def __reduce__(self):
        return (bytearray, (2**40,))


def write_archive(path: Path, table: bytes, *, method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("archive/data.pkl", table)
        archive.writestr("archive/version", "3\n")
    return path


def test_a_pickle_of_more_than_tensors_is_not_opened(upscaler, tmp_path):
    for number, bomb in enumerate((Evil(), Huge(), {"a": [Huge()]})):
        path = write_archive(tmp_path / f"{number}.pt", pickle.dumps(bomb, protocol=2))

        for field in (BASE, LORA, EMBEDDING):
            with pytest.raises(ArgumentInvalid, match=f"^{field}: the file holds more than tens"):
                make(upscaler, {field: path})


def test_a_small_file_can_not_become_a_large_tensor(upscaler, tmp_path):
    path = tmp_path / "inflated.pt"
    torch.save(OrderedDict(emb_params=torch.zeros(1).expand(2**40, WIDTH)), path)

    for field in (LORA, EMBEDDING):
        with pytest.raises(ArgumentInvalid, match=f"^{field}: .*more numbers than"):
            make(upscaler, {field: path})


@pytest.mark.parametrize("kept", [4, 100, 5000])
@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_a_truncated_file_is_refused(upscaler, tmp_path, kept, suffix):
    whole = write_lora(tmp_path / f"whole.{suffix}").read_bytes()
    path = tmp_path / f"cut.{suffix}"
    path.write_bytes(whole[:kept])

    with pytest.raises(ArgumentInvalid, match=f"^{LORA}: the file is damaged"):
        make(upscaler, {LORA: path})


def test_archives_that_grow_are_refused(tmp_path):
    plain = pickle.dumps({}, protocol=2)
    packed = write_archive(tmp_path / "packed.pt", plain * 1000, method=zipfile.ZIP_DEFLATED)
    double = tmp_path / "double.pt"
    with zipfile.ZipFile(double, "w") as archive:
        archive.writestr("archive/data.pkl", plain)
        archive.writestr("archive/data/0", bytes(1000))
        first = archive.getinfo("archive/data/0")
        archive.filelist.extend([first] * 9)  # ten names of the same bytes

    for path, reason in ((packed, "compressed"), (double, "more than it does")):
        with pytest.raises(WeightsError, match=reason):
            check_foreign(path)


def test_numbers_that_no_network_bears_are_the_request_s_fault(upscaler, tmp_path):
    tensors = {name: each * 1e30 for name, each in small("kohya_lora_sd15_rank32").items()}
    path = write_tensors(tmp_path / "huge.safetensors", tensors)

    with pytest.raises(ArgumentInvalid, match=f"^{LORA}: .* the networks make NaN"):
        make(upscaler, {LORA: path})

    assert np.isfinite(make(upscaler)).all()
