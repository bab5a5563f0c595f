from pathlib import Path

import pytest

from models.creative.pipeline import CreativeUpscaler
from tests.models.creative.small import load, write_creative


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of Stable Diffusion 1.5, written once for all tests of a process."""
    return write_creative(tmp_path_factory.mktemp("creative"))


@pytest.fixture(scope="session")
def upscaler(folder: Path) -> CreativeUpscaler:
    """With a detail LoRA and a safety checker; no job changes it."""
    return load(folder)


@pytest.fixture(scope="session")
def undetailed(folder: Path) -> CreativeUpscaler:
    """With neither."""
    return load(folder, detail_lora=None, safety_checker=False)
