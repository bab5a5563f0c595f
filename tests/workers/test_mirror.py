"""Weights from a real S3 protocol to a folder."""

import pytest

from models import catalog
from scheduler.errors import AddressInvalid
from scheduler.settings import Settings
from scheduler.storage import open_storage
from tests.workers.test_residency import make_endpoint
from workers import mirror

CATALOGUE = catalog.ENDPOINTS


@pytest.fixture(autouse=True)
def _one_endpoint(monkeypatch):
    monkeypatch.setattr(catalog, "ENDPOINTS", {"split": make_endpoint("split")})


def put(settings: Settings, prefix: str, **files: bytes) -> None:
    storage = open_storage(settings)
    for name, data in files.items():
        address = f"{prefix}split/{name.replace('_', '.')}"
        storage.write(address, data, content_type="application/octet-stream")


def bring(settings: Settings, *wanted: str):
    return mirror.local_folder(settings, open_storage(settings), wanted)


@pytest.fixture
def mirrored(s3_url, bucket, tmp_path):
    return Settings(
        s3_endpoint_url=s3_url,
        s3_addressing_style="path",
        weights=f"s3://{bucket}/weights",
        weights_cache=tmp_path / "cache",
    )


def test_what_the_endpoints_could_use_is_copied(mirrored, bucket, tmp_path):
    put(
        mirrored,
        f"s3://{bucket}/weights/",
        small_pth=b"abc",
        vae_pth=b"d" * 3_000_000,
        other_pth=b"x",
    )

    folder = bring(mirrored)

    assert folder == tmp_path / "cache"
    assert (folder / "split/small.pth").read_bytes() == b"abc"
    assert (folder / "split/vae.pth").read_bytes() == b"d" * 3_000_000
    assert not (folder / "split/other.pth").exists()


def test_what_is_here_is_not_copied_again_and_what_changed_is(mirrored, bucket):
    put(mirrored, f"s3://{bucket}/weights/", small_pth=b"old", vae_pth=b"same")
    folder = bring(mirrored)
    same = (folder / "split/vae.pth").stat().st_mtime_ns
    put(mirrored, f"s3://{bucket}/weights/", small_pth=b"newer")

    bring(mirrored)

    assert (folder / "split/small.pth").read_bytes() == b"newer"
    assert (folder / "split/vae.pth").stat().st_mtime_ns == same


def test_a_copy_that_broke_off_goes_on_where_it_was(mirrored, bucket):
    put(mirrored, f"s3://{bucket}/weights/", small_pth=b"0123456789")
    etag = open_storage(mirrored).stat(f"s3://{bucket}/weights/split/small.pth").etag.strip('"')
    folder = mirrored.weights_cache / "split"
    folder.mkdir(parents=True)
    # Not what is stored: so it shows that these bytes were kept, and the rest was fetched.
    (folder / f"small.pth.{etag}.part").write_bytes(b"abc")
    (folder / "small.pth.another.part").write_bytes(b"zz")

    bring(mirrored)

    assert (folder / "small.pth").read_bytes() == b"abc3456789"


def test_only_wanted_endpoints_are_copied(mirrored, bucket):
    put(mirrored, f"s3://{bucket}/weights/", small_pth=b"abc")

    folder = bring(mirrored, "something/else")

    assert list(folder.glob("split/*")) == []


def test_what_an_endpoint_borrows_and_what_the_operator_chose_are_copied(
    mirrored, bucket, monkeypatch
):
    monkeypatch.setattr(catalog, "ENDPOINTS", CATALOGUE)
    clarity = "fal-ai/clarity-upscaler"
    settings = mirrored.model_copy(update={"options": {clarity: {"base": "mine", "loras": {}}}})
    borrowed = CATALOGUE["enlarger/esrgan"].manifest().variants[0].parts[0].files[0].name
    files = {
        "clarity/mine.safetensors",
        "clarity/juggernaut_reborn.safetensors",
        f"esrgan/{borrowed}",
    }
    storage = open_storage(settings)
    for name in (*files, "ccsr/real-world_ccsr.ckpt"):
        storage.write(f"s3://{bucket}/weights/{name}", b"w", content_type="text/plain")

    folder = bring(settings, clarity)

    found = {each for each in folder.rglob("*") if each.suffix in (".safetensors", ".pth", ".ckpt")}
    names = {each.relative_to(folder).as_posix() for each in found}
    assert names == files - {"clarity/juggernaut_reborn.safetensors"}


def test_a_folder_is_taken_as_it_is(tmp_path):
    assert bring(Settings(weights=str(tmp_path))) == tmp_path
    assert bring(Settings()) is None


def test_an_address_that_is_none_is_refused():
    with pytest.raises(AddressInvalid):
        bring(Settings(weights="s3://no bucket/", weights_cache="/tmp/unused"))
