"""All reference cases that the project carries, and those of the folder after `--goldens`."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.goldens.checks import run
from tests.goldens.comparison import EXACT, Tolerance, compare

DATA = Path(__file__).parents[1] / "data"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case_file" in metafunc.fixturenames:
        folders = [DATA, *map(Path, metafunc.config.getoption("goldens"))]
        files = [file for folder in folders for file in sorted(folder.rglob("*.safetensors"))]
        metafunc.parametrize("case_file", files, ids=_name)


def _name(file: Path) -> str:
    return str(file.relative_to(DATA) if file.is_relative_to(DATA) else file)


def test_the_project_computes_what_upstream_did(case_file):
    comparisons = run(case_file.resolve().parent.name, case_file)

    assert comparisons
    assert [str(comparison) for comparison in comparisons if not comparison.passed] == []


def test_a_case_of_an_unknown_kind_or_model_is_refused(tmp_path):
    with pytest.raises(LookupError, match=r"no check for 'unheard_of'.*vae_"):
        run("seedvr2", _empty_case(tmp_path / "unheard_of.safetensors"))
    with pytest.raises(LookupError, match=r"no model 'unheard_of'; there are .*seedvr2"):
        run("unheard_of", _empty_case(tmp_path / "vae_.safetensors"))


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
