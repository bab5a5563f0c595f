"""The Kubernetes manifests as the cluster would get them, and what is asked of them."""

import os
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2] / "deploy" / "kubernetes"
OVERLAYS = ("cpu", "gpu", "spot")

Manifest = dict[str, Any]


def written(*folders: str) -> list[Manifest]:
    """Return the objects that files of folders hold whole."""
    paths = [path for folder in folders for path in sorted((ROOT / folder).glob("*.yaml"))]
    found = [each for path in paths for each in yaml.safe_load_all(path.read_text())]
    return [each for each in found if each.get("kind") not in (None, "Kustomization")]


@cache
def rendered(folder: Path) -> list[Manifest]:
    """Return what `kubectl apply --kustomize` would send; skip where there is no kubectl.

    On Linux it is one of the packages that are installed to develop.
    """
    places = f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"
    kubectl = shutil.which("kubectl", path=places)
    if kubectl is None:
        pytest.skip("kubectl is not installed, which puts overlays together")
    done = subprocess.run(
        [kubectl, "kustomize", folder], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return list(yaml.safe_load_all(done.stdout))


def named(manifests: list[Manifest], kind: str) -> dict[str, Manifest]:
    """Return the objects of a kind, by their names."""
    return {each["metadata"]["name"]: each for each in manifests if each["kind"] == kind}


def templates(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Yield every pod's template, with the name of what makes it."""
    for each in manifests:
        if "template" in each.get("spec", {}):
            yield each["metadata"]["name"], each["spec"]["template"]


def container(template: Manifest) -> Manifest:
    """Return a pod's one container."""
    (found,) = template["spec"]["containers"]
    return found


def selects(selector: Manifest, labels: dict[str, str]) -> bool:
    """Tell whether a selector means a pod with these labels; an empty one means every pod."""
    assert set(selector) <= {"matchLabels"}
    return selector.get("matchLabels", {}).items() <= labels.items()
