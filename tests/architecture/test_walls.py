"""The import walls between the packages, and what a light import may load."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def loaded_by(statement: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter has after a statement."""
    code = f"{statement}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_the_import_contracts_hold() -> None:
    lint = Path(sys.executable).with_name("lint-imports")
    contracts = Path(__file__).with_name("contracts.ini")

    done = subprocess.run(
        [lint, "--config", contracts, "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout


def test_the_command_line_is_light_to_import() -> None:
    heavy = {"torch", "celery", "kombu", "boto3", "sqlalchemy", "pydantic_settings", "psycopg"}

    assert loaded_by("import scheduler.cli") & heavy == set()


@pytest.mark.parametrize(
    "module", ["scheduler.loop", "scheduler.submission", "scheduler.doctor", "models.catalog"]
)
def test_the_scheduler_runs_without_torch(module: str) -> None:
    heavy = {"torch", "diffusers", "transformers", "numpy", "workers"}

    assert loaded_by(f"import {module}") & heavy == set()


def test_every_schema_of_the_catalogue_is_torch_free() -> None:
    statement = (
        "from models import catalog\n"
        "for endpoint in catalog.ENDPOINTS.values(): endpoint.request_class()"
    )

    assert {"torch", "numpy"} & loaded_by(statement) == set()
