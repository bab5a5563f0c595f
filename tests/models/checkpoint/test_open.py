import pickle
import struct

import pytest
import torch
from safetensors.torch import save_file

from models.checkpoint.open import open_checkpoint
from models.errors import WeightsError

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4, dtype=torch.float16)}


def write(path, tensors=TENSORS, **options):
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path, **options)
    return path


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt", ".ckpt"])
def test_every_format_gives_the_same_tensors(tmp_path, suffix):
    with open_checkpoint(write(tmp_path / f"w{suffix}")) as found:
        assert dict(found.shapes) == {"a.weight": (2, 3), "b": (4,)}
        assert dict(found.dtypes) == {"a.weight": torch.float32, "b": torch.float16}
        torch.testing.assert_close(found.read("a.weight"), TENSORS["a.weight"])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn, torch.int8])
def test_small_types_are_read(tmp_path, dtype):
    tensors = {"x": torch.arange(4.0).to(dtype)}
    with open_checkpoint(write(tmp_path / "w.safetensors", tensors)) as found:
        assert found.dtypes["x"] == dtype
        torch.testing.assert_close(found.read("x").float(), torch.arange(4.0))


def test_the_format_before_torch_1_6_is_read(tmp_path):
    path = write(tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    with open_checkpoint(path) as found:
        torch.testing.assert_close(found.read("b"), TENSORS["b"])


@pytest.mark.parametrize("wrapper", ["state_dict", "params_ema", "params"])
def test_wrapped_tensors_are_found(tmp_path, wrapper):
    wrapped = {wrapper: TENSORS, "epoch": 3, "optimizer": {"lr": 0.1}}
    with open_checkpoint(write(tmp_path / "w.ckpt", wrapped)) as found:
        assert set(found.shapes) == set(TENSORS)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with (
        pytest.raises(WeightsError, match=r"nowhere\.pth is not there"),
        open_checkpoint(tmp_path / "nowhere.pth"),
    ):
        pass


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("kept", [0, 4, 60, 0.5, 0.99])
def test_a_file_that_was_cut_off_is_damaged(tmp_path, suffix, kept):
    path = write(tmp_path / f"w{suffix}", {"x": torch.zeros(5000)})
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data)) if kept < 1 else kept])

    with pytest.raises(WeightsError, match="damaged or not complete"), open_checkpoint(path):
        pass


def test_a_header_of_gigabytes_is_not_believed(tmp_path):
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", 2**40) + b"{}")

    with pytest.raises(WeightsError, match="damaged"), open_checkpoint(path):
        pass


class Bomb:
    def __reduce__(self):
        return (exec, ("open('/tmp/enlarger-was-here', 'w')",))


@pytest.mark.parametrize(
    "save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value, protocol=2))]
)
def test_a_pickle_that_runs_code_is_not_opened(tmp_path, save):
    path = tmp_path / "w.pth"
    save({"x": Bomb()}, path)

    with pytest.raises(WeightsError, match="safetensors file instead"), open_checkpoint(path):
        pass


@pytest.mark.parametrize("value", [[1, 2], {"epoch": 3}, 7], ids=["list", "no tensors", "number"])
def test_a_pickle_without_tensors_says_so(tmp_path, value):
    path = tmp_path / "w.pth"
    torch.save(value, path)

    with pytest.raises(WeightsError, match="holds"), open_checkpoint(path):
        pass


def test_an_error_of_the_reader_stays_its_own(tmp_path):
    message = "mine"

    def read_badly():
        with open_checkpoint(write(tmp_path / "w.safetensors")):
            raise RuntimeError(message)

    with pytest.raises(RuntimeError, match="mine"):
        read_badly()
