from pathlib import Path

import pytest

from models.catalog import ENDPOINTS, part
from models.checkpoint.manifest import File, Licence, Part
from models.errors import ArgumentInvalid, UnknownEndpoint, WeightsError
from models.options import NoOptions
from scheduler.errors import SettingsInvalid
from tests.workers.test_residency import make_endpoint
from workers.stock import Stock, readiness


class Choices(NoOptions):
    tiles: int = 1


def make_stock(folder: Path | None, *names: str, chosen=None, **overrides) -> Stock:
    endpoints = {name: make_endpoint(name, **overrides) for name in names}
    return Stock(endpoints=endpoints, folder=folder, chosen=chosen or {})


def put(folder: Path, *names: str) -> None:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"12345")


def test_each_variant_is_a_pipeline_of_its_own():
    split = make_endpoint("split")

    assert split.pipelines() == ("split#small", "split#large")
    assert split.pipeline_for({}) == "split#small"
    assert split.pipeline_for({"variant": "large"}) == "split#large"
    assert part("split#large") == ("split", "large")
    with pytest.raises(ArgumentInvalid, match="it has small, large"):
        split.pipeline_for({"variant": "huge"})


def test_an_endpoint_without_weights_is_its_own_pipeline():
    lanczos = ENDPOINTS["enlarger/lanczos"]

    assert lanczos.pipelines() == (lanczos.id,) == (lanczos.pipeline_for({"scale": 2}),)
    assert part(lanczos.id) == (lanczos.id, None)


def test_any_file_of_a_part_will_do_and_the_first_is_preferred(tmp_path):
    put(tmp_path / "split", "small.pth", "vae.pth")
    stock = make_stock(tmp_path, "split")

    found = stock.weights("split#small")
    assert {name: path.name for name, path in found.files.items()} == {
        "net": "small.pth",
        "vae": "vae.pth",
    }
    assert (found.variant, found.size_bytes) == ("small", 10)

    put(tmp_path / "split", "small.safetensors")
    assert stock.weights("split#small").files["net"].name == "small.safetensors"


def test_what_is_missing_is_named_with_the_command_that_brings_it(tmp_path):
    put(tmp_path / "split", "large.pth")

    with pytest.raises(WeightsError) as caught:
        make_stock(tmp_path, "split").weights("split#small")

    assert "lacks small.safetensors or small.pth, vae.pth" in str(caught.value)
    assert "`enlarger weights pull split --variant small`" in str(caught.value)


def test_readiness_says_what_each_pipeline_lacks(tmp_path):
    put(tmp_path / "there", "model.pth")
    put(tmp_path / "split", "small.pth", "vae.pth")
    stock = make_stock(tmp_path, "there", "missing", "split")
    unbuilt = make_endpoint("unbuilt", pipeline="models.unbuilt.pipeline:It", weights="")
    stock.endpoints["unbuilt"] = unbuilt

    found = readiness(stock, ["there", "missing", "split", "unbuilt", "unknown"])

    assert found.ready == ("there#only", "split#small")
    assert "weights pull missing --variant only" in found.not_ready["missing#only"]
    assert "lacks large.pth" in found.not_ready["split#large"]
    assert found.not_ready["unbuilt"] == "its pipeline models.unbuilt.pipeline is not installed"
    assert found.not_ready["unknown"].startswith("the catalogue has no such endpoint")


def test_without_a_folder_for_weights_only_those_without_any_are_ready():
    endpoints = {"enlarger/lanczos": ENDPOINTS["enlarger/lanczos"], "there": make_endpoint("there")}

    found = readiness(Stock(endpoints=endpoints), list(endpoints))

    assert found.ready == ("enlarger/lanczos",)
    assert "ENLARGER_WEIGHTS is not set" in found.not_ready["there#only"]


def test_options_are_those_of_the_settings_in_the_endpoints_class(tmp_path):
    stock = make_stock(
        tmp_path, "there", chosen={"there": {"tiles": 3}}, options=f"{__name__}:Choices"
    )

    assert stock.options(stock.endpoint("there")) == Choices(tiles=3)


@pytest.mark.parametrize("bad", [{"tiles": "many"}, {"tile": 3}])
def test_an_option_that_there_is_not_is_named(tmp_path, bad):
    put(tmp_path / "there", "model.pth")
    stock = make_stock(tmp_path, "there", chosen={"there": bad}, options=f"{__name__}:Choices")

    with pytest.raises(SettingsInvalid, match=f"ENLARGER_OPTIONS: there: {next(iter(bad))}"):
        stock.options(stock.endpoint("there"))
    assert "ENLARGER_OPTIONS" in readiness(stock, ["there"]).not_ready["there#only"]


def test_an_endpoint_that_is_not_served_is_unknown(tmp_path):
    with pytest.raises(UnknownEndpoint, match="there"):
        make_stock(tmp_path, "there").endpoint("elsewhere")


class Borrowing(NoOptions):
    def parts(self, variant):
        return (*variant.parts, Part(name="own", files=(File(name="own.pth", **BROUGHT),)))

    def borrows(self):
        return ("missing",)


BROUGHT = {"repository": None, "licence": Licence(name="MIT", url="", free=True)}


def test_files_that_only_the_options_name_are_needed_too(tmp_path):
    put(tmp_path / "there", "model.pth")
    stock = make_stock(tmp_path, "there", options=f"{__name__}:Borrowing")

    with pytest.raises(WeightsError, match=r"lacks own\.pth; bring the files, or choose others"):
        stock.weights("there#only")

    put(tmp_path / "there", "own.pth")
    assert set(stock.weights("there#only").files) == {"net", "own"}


def test_an_endpoint_is_ready_only_if_those_it_borrows_are(tmp_path):
    put(tmp_path / "there", "model.pth", "own.pth")
    stock = make_stock(tmp_path, "there", options=f"{__name__}:Borrowing")
    assert "missing" in readiness(stock, ["there"]).not_ready["there#only"]

    stock.endpoints["missing"] = make_endpoint("missing")
    lacking = readiness(stock, ["there"]).not_ready["there#only"]
    put(tmp_path / "missing", "model.pth")

    assert lacking.startswith("it needs missing: ")
    assert "weights pull missing" in lacking
    assert readiness(stock, ["there"]).ready == ("there#only",)
