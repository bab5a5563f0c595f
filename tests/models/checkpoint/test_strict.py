import json
import struct
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from models.checkpoint.keymaps import ATTENTION, rename
from models.checkpoint.open import open_checkpoint
from models.checkpoint.strict import assign, onto
from models.errors import WeightsError

FLOAT32 = onto("cpu", torch.float32)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 2)
        self.norm = nn.BatchNorm1d(2)


def make_tensors(**changes):
    torch.manual_seed(0)
    tensors = {
        name: torch.rand(each.shape) if each.is_floating_point() else each
        for name, each in Net().state_dict().items()
    }
    return {name: each for name, each in (tensors | changes).items() if each is not None}


def load(tmp_path, tensors, **options):
    save_file(tensors, tmp_path / "w.safetensors")
    with torch.device("meta"):
        net = Net()
    with open_checkpoint(tmp_path / "w.safetensors") as checkpoint:
        assign(net, checkpoint, **{"place": FLOAT32} | options)
    return net


def test_every_parameter_and_buffer_gets_its_tensor(tmp_path):
    tensors = make_tensors()

    net = load(tmp_path, tensors)

    torch.testing.assert_close(dict(net.state_dict()), tensors)
    assert not any(parameter.requires_grad for parameter in net.parameters())


def test_floats_are_cast_and_integers_are_not(tmp_path):
    net = load(tmp_path, make_tensors(), place=onto("cpu", torch.bfloat16))

    assert net.inner.weight.dtype == net.norm.running_mean.dtype == torch.bfloat16
    assert net.norm.num_batches_tracked.dtype == torch.int64


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"inner.bias": None}, "1 missing: inner.bias"),
        ({"extra": torch.zeros(1)}, "1 unexpected: extra"),
        (
            {"inner.weight": torch.zeros(2, 4)},
            r"1 of another shape: inner.weight \(2, 4\) instead of \(2, 3\)",
        ),
        ({f"extra.{n}": torch.zeros(1) for n in range(9)}, "9 unexpected: .* and 4 more"),
        ({"inner.weight": torch.full((2, 3), torch.nan)}, "inner.weight holds NaN"),
        ({"norm.bias": torch.tensor([1.0, torch.inf])}, "norm.bias holds NaN or infinity"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_by_name(tmp_path, changes, said):
    with pytest.raises(WeightsError, match=said) as caught:
        load(tmp_path, make_tensors(**changes))

    assert "w.safetensors" in str(caught.value)


def test_a_value_that_overflows_the_dtype_is_noticed(tmp_path):
    with pytest.raises(WeightsError, match="NaN or infinity"):
        load(
            tmp_path,
            make_tensors(**{"inner.bias": torch.tensor([1e6, 0.0])}),
            place=onto("cpu", torch.float16),
        )


def test_nan_of_eight_bits_is_noticed(tmp_path):
    broken = torch.full((2, 3), torch.nan).to(torch.float8_e4m3fn)
    with pytest.raises(WeightsError, match="NaN"):
        load(
            tmp_path,
            make_tensors(**{"inner.weight": broken}),
            place=lambda _name, tensor: tensor.clone(),
        )


def test_what_is_ignorable_may_be_there_or_not(tmp_path):
    tensors = make_tensors(**{"loss.weight": torch.zeros(1)})

    net = load(tmp_path, tensors, ignorable=(r"loss\..*",))

    torch.testing.assert_close(net.inner.bias, tensors["inner.bias"])
    with pytest.raises(WeightsError, match=r"unexpected: loss\.weight"):
        load(tmp_path, tensors, ignorable=("loss",))


def test_names_go_through_the_key_map(tmp_path):
    tensors = {f"model.{name}": each for name, each in make_tensors().items()}

    net = load(tmp_path, tensors, keymap=rename(((r"^model\.", ""),)))

    torch.testing.assert_close(net.inner.bias, tensors["model.inner.bias"])


def test_two_names_for_one_tensor_are_refused(tmp_path):
    tensors = make_tensors(**{"old.bias": torch.zeros(2)})

    with pytest.raises(WeightsError, match="same meaning"):
        load(tmp_path, tensors, keymap=rename((("^old", "inner"),)))


def test_older_names_of_attention_become_those_of_today():
    assert ATTENTION("mid.attentions.0.query.weight") == "mid.attentions.0.to_q.weight"
    assert ATTENTION("mid.attentions.0.proj_attn.bias") == "mid.attentions.0.to_out.0.bias"
    assert ATTENTION("mid.attentions.0.to_k.weight") == "mid.attentions.0.to_k.weight"


def test_published_tensors_are_converted(tmp_path):
    tensors = make_tensors(**{"inner.weight": torch.ones(2, 3, 5)})

    net = load(
        tmp_path,
        tensors,
        published={"inner.weight": (2, 3, 5)},
        convert=lambda tensor, shape: tensor.sum(-1) if tensor.ndim > len(shape) else tensor,
    )

    torch.testing.assert_close(net.inner.weight.data, torch.full((2, 3), 5.0))


def test_a_loaded_module_does_not_hang_on_its_file(tmp_path):
    net = load(tmp_path, make_tensors())
    before = net.inner.weight.clone()

    with (tmp_path / "w.safetensors").open("r+b") as file:
        file.seek(-24, 2)
        file.write(b"\xff" * 24)

    torch.testing.assert_close(net.inner.weight.data, before)


PEAK = """
import sys, threading, torch
from pathlib import Path
from torch import nn
from models.checkpoint.open import open_checkpoint
from models.checkpoint.strict import assign, onto

def resident():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon"))

with torch.device("meta"):
    net = nn.ModuleList(nn.Linear(4096, 4096, bias=False) for _ in range(16))
before, peak, done = resident(), 0, threading.Event()

def watch():
    global peak
    while not done.wait(0.002):
        peak = max(peak, resident())

thread = threading.Thread(target=watch)
thread.start()
with open_checkpoint(Path(sys.argv[1])) as checkpoint:
    assign(net, checkpoint, place=onto("cpu", torch.bfloat16))
done.set()
thread.join()
print(max(peak, resident()) - before)
"""


def write_large(path, one, count):
    """Write `count` tensors, each with bytes of its own."""
    names = [f"{number}.weight" for number in range(count)]
    if path.suffix == ".pth":
        torch.save({name: one.clone() for name in names}, path)
        return
    size = one.numel() * 4
    header = {
        name: {"dtype": "F32", "shape": list(one.shape), "data_offsets": [n * size, (n + 1) * size]}
        for n, name in enumerate(names)
    }
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _ in names:
            file.write(one.numpy().data)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_gigabyte_loads_in_its_target_size_and_one_tensor(tmp_path, suffix):
    one = torch.empty(4096, 4096).uniform_(-1, 1)  # 64 MiB; 16 of them make 1 GiB
    path = tmp_path / f"w{suffix}"
    write_large(path, one, 16)

    command = [sys.executable, "-c", PEAK, str(path)]
    peak = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    path.unlink()

    target, published = 16 * one.numel() * 2, one.numel() * 4
    assert target * 0.98 < peak < target + published
