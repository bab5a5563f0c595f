import pickle
import re

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from models.diffusion.inversions import read_inversion
from models.errors import WeightsError

WIDTHS = {"text": 16}


def web_ui_file(path, vectors: torch.Tensor):
    """Write what AUTOMATIC1111's web UI writes when it has learnt an inversion."""
    parameters = nn.ParameterDict({"*": nn.Parameter(vectors)})
    torch.save(
        {
            "string_to_token": {"*": 265},
            "string_to_param": parameters,
            "name": "learnt",
            "step": 9,
            "sd_checkpoint": None,
            "sd_checkpoint_name": None,
        },
        path,
    )
    return path


def test_the_web_ui_s_file_is_triggered_by_its_own_name_and_the_one_within(tmp_path):
    vectors = torch.randn(3, 16)

    found = read_inversion(web_ui_file(tmp_path / "Neg-ative.pt", vectors), WIDTHS)

    assert found.names == ("Neg-ative", "learnt")
    assert torch.equal(found.vectors["text"], vectors)


@pytest.mark.parametrize("key", ["emb_params", "<cat-toy>"])
def test_a_file_of_one_tensor_is_read_whatever_it_is_called(tmp_path, key):
    save_file({key: torch.ones(16)}, tmp_path / "one.safetensors")
    torch.save({key: torch.ones(2, 16).half()}, tmp_path / "two.bin")

    one = read_inversion(tmp_path / "one.safetensors", WIDTHS)
    two = read_inversion(tmp_path / "two.bin", WIDTHS)

    assert one.vectors["text"].shape == (1, 16)
    assert two.vectors["text"].dtype == torch.float32
    assert two.names == ("two",) if key == "emb_params" else ("two", key)


def test_sdxl_s_file_has_vectors_for_both_encoders(tmp_path):
    tensors = {"clip_l": torch.ones(2, 16), "clip_g": torch.ones(2, 24)}
    save_file(tensors, tmp_path / "xl.safetensors")

    found = read_inversion(tmp_path / "xl.safetensors", {"text": 16, "text_2": 24})

    assert {tower: tuple(each.shape) for tower, each in found.vectors.items()} == {
        "text": (2, 16),
        "text_2": (2, 24),
    }


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({"emb_params": torch.ones(2, 24)}, "holds vectors of {'text': 24}, made for another"),
        ({"a": torch.ones(16), "b": torch.ones(16)}, "is no textual inversion: it holds a, b"),
        ({"emb_params": torch.ones(76, 16)}, "holds 76 vectors; 1 to 75"),
        ({"emb_params": torch.full((1, 16), torch.nan)}, "holds NaN"),
    ],
)
def test_what_would_not_fit_is_refused_with_the_reason(tmp_path, tensors, reason):
    save_file(tensors, tmp_path / "bad.safetensors")

    with pytest.raises(WeightsError, match=re.escape(f"bad.safetensors {reason}")):
        read_inversion(tmp_path / "bad.safetensors", WIDTHS)


class Evil:
    def __reduce__(self):
        return (print, ("code ran",))


def test_a_pickle_that_would_run_code_is_not_opened(tmp_path, capsys):
    (tmp_path / "evil.pt").write_bytes(pickle.dumps({"string_to_param": Evil()}, protocol=2))

    with pytest.raises(WeightsError, match=r"evil\.pt is damaged, or holds more than tensors"):
        read_inversion(tmp_path / "evil.pt", WIDTHS)

    assert "code ran" not in capsys.readouterr().out


def test_a_truncated_file_is_refused(tmp_path):
    path = web_ui_file(tmp_path / "cut.pt", torch.randn(3, 16))
    path.write_bytes(path.read_bytes()[:-100])

    with pytest.raises(WeightsError, match=r"cut\.pt is damaged"):
        read_inversion(path, WIDTHS)
