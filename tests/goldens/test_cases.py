"""All reference cases that the project carries, and those of the folder after `--goldens`."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.goldens.__main__ import main
from tests.goldens.checks import MODELS, model_of, run
from tests.goldens.comparison import EXACT, Tolerance, compare

DATA = Path(__file__).parents[1] / "data"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case_file" in metafunc.fixturenames:
        folders = [
            *(DATA / model for model in MODELS),
            *map(Path, metafunc.config.getoption("goldens")),
        ]
        files = [
            file
            for folder in folders
            for file in sorted(folder.rglob("*"))
            if file.suffix in (".safetensors", ".json")
        ]
        metafunc.parametrize("case_file", files, ids=_name)


def _name(file: Path) -> str:
    return str(file.relative_to(DATA) if file.is_relative_to(DATA) else file)


def test_the_project_computes_what_upstream_did(case_file):
    comparisons = run(model_of(case_file), case_file)

    assert comparisons
    assert [str(comparison) for comparison in comparisons if not comparison.passed] == []


def test_a_case_of_an_unknown_kind_or_model_is_refused(tmp_path):
    with pytest.raises(LookupError, match=r"no check for 'unheard_of'.*vae_"):
        run("seedvr2", _empty_case(tmp_path / "unheard_of.safetensors"))
    with pytest.raises(LookupError, match=r"no model 'unheard_of'; there are .*seedvr2"):
        run("unheard_of", _empty_case(tmp_path / "vae_.safetensors"))


def test_the_model_of_a_case_is_the_nearest_folder_called_so():
    assert model_of(Path("/data/seedvr2/held-out/vae_t1.safetensors")) == "seedvr2"
    with pytest.raises(LookupError, match=r"no folder above .*seedvr2"):
        model_of(Path("/data/elsewhere/vae_t1.safetensors"))


def test_the_runner_prints_errors_and_tolerances(monkeypatch, capsys):
    monkeypatch.setattr(
        "sys.argv", ["goldens", "seedvr2", str(DATA / "seedvr2/sampler.safetensors")]
    )

    assert main() == 0

    printed = capsys.readouterr().out
    assert "ok     cond/scale0.1: largest error" in printed
    assert "tolerance 0.0001 + 0.0001 * |value|" in printed
    assert "optional: skipped cfg/scale2.5: the published models are distilled" in printed


def test_the_runner_fails_when_a_value_is_off(monkeypatch, capsys, tmp_path):
    tensors = load_file(DATA / "seedvr2" / "modulation.safetensors")
    tensors["outputs/attn_in"][0, 0] += 1e-2
    save_file(tensors, tmp_path / "modulation.safetensors", {"config": '{"dim": 12}'})
    monkeypatch.setattr(
        "sys.argv", ["goldens", "seedvr2", str(tmp_path / "modulation.safetensors")]
    )

    assert main() == 1

    assert "FAILED attn_in: largest error 0.01" in capsys.readouterr().out


def test_an_output_that_no_check_looked_at_fails(tmp_path):
    tensors = load_file(DATA / "seedvr2" / "time_embedding.safetensors")
    tensors["outputs/unheard_of"] = torch.zeros(1)
    save_file(tensors, tmp_path / "time_embedding.safetensors")

    comparisons = run("seedvr2", tmp_path / "time_embedding.safetensors")

    assert [each.name for each in comparisons if not each.passed] == ["unheard_of"]


def test_an_element_over_its_tolerance_fails():
    expected = torch.tensor([1.0, 10.0])

    within = compare("x", expected + torch.tensor([0.0, 1e-3]), expected, Tolerance(0.0, 2e-4))
    over = compare("x", expected + torch.tensor([1e-3, 0.0]), expected, Tolerance(0.0, 2e-4))

    assert (within.passed, over.passed) == (True, False)


@pytest.mark.parametrize("actual", [[1.0], [1.0, float("nan")], [[1.0, 2.0]], [1.0, float("inf")]])
def test_another_shape_and_what_is_not_finite_fail(actual):
    comparison = compare("x", torch.tensor(actual), torch.tensor([1.0, 2.0]), Tolerance(1e9))

    assert not comparison.passed


def test_a_share_bounds_how_many_elements_differ():
    expected = torch.zeros(100)
    few, many = expected.clone(), expected.clone()
    few[:1] = 1
    many[:3] = 1

    assert compare("x", few, expected, Tolerance(1, share=0.02)).passed
    assert not compare("x", many, expected, Tolerance(1, share=0.02)).passed
    assert compare("x", expected, expected, EXACT).passed


def _empty_case(path: Path) -> Path:
    save_file({"outputs/x": torch.zeros(1)}, path)
    return path
