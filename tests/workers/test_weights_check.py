"""A look at weights that lie in folders, some of which only some choices need."""

from pathlib import Path

from models.catalog import ENDPOINTS
from tests.models.chain_of_zoom.small import write_chain_of_zoom, write_language
from workers.devices import Device
from workers.stock import Stock
from workers.weights_check import Finding, findings

ENDPOINT = ENDPOINTS["fal-ai/chain-of-zoom"]


def check(folder: Path, prompter: str) -> list[Finding]:
    manifest = ENDPOINT.manifest()
    assert manifest is not None
    stock = Stock(endpoints=ENDPOINTS, folder=folder, chosen={ENDPOINT.id: {"prompter": prompter}})
    device = Device(id="cpu", name="CPU", memory_bytes=2**34)
    return list(findings(stock, ENDPOINT, manifest, manifest.variant(None), device))


def test_what_the_choices_need_is_looked_at_and_nothing_else(tmp_path: Path) -> None:
    write_language(write_chain_of_zoom(tmp_path / "chain-of-zoom"))
    (tmp_path / "chain-of-zoom" / "config.json").write_text("{}")

    blind, looking = check(tmp_path, "null"), check(tmp_path, "vlm")

    assert all(finding.ok for finding in blind)
    assert any("transformer/diffusion_pytorch_model.safetensors: " in each.detail for each in blind)
    assert "config.json is missing or no configuration" in looking[-1].detail
    assert (looking[-1].check, looking[-1].ok) == ("tensors", False)
