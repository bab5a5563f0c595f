"""Downloads from a real local server; huggingface_hub is the real one."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.checkpoint.manifest import File, Licence
from models.errors import ArgumentInvalid
from scheduler import hub
from scheduler.errors import WeightsRefused
from tests.hub_server import COMMIT, hub_server

FREE = Licence(name="CC0-1.0", url="https://creativecommons.org/publicdomain/zero/1.0/", free=True)
DATA = bytes(range(256)) * 20_000
DIGEST = hashlib.sha256(DATA).hexdigest()

PULL = """
import json, sys
from pathlib import Path
from models.checkpoint.manifest import File, Licence
from models.errors import EnlargerError
from scheduler import hub

told = json.loads(sys.argv[1])
licence = Licence(name="CC0-1.0", url="", free=True)
try:
    print(hub.pull(File(licence=licence, **told), Path(sys.argv[2])))
except EnlargerError as exc:
    print(exc.code, exc)
    sys.exit(1)
"""


def pull(url: str, folder: Path, **fields) -> str:
    """Pull in a process of its own: the library reads its address when it is imported."""
    told = json.dumps({"name": "w.pth", "repository": "somebody/something"} | fields)
    environment = os.environ | {"HF_ENDPOINT": url, "HF_HOME": str(folder / "hf"), "CI": ""}
    environment |= {"HF_HUB_DISABLE_XET": "1", "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(
        [sys.executable, "-c", PULL, told, str(folder)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.stdout, done.stderr
    return done.stdout.strip()


def test_a_file_is_brought_and_pinned(tmp_path):
    with hub_server({"somebody/something/w.pth": DATA}) as server:
        said = pull(server.url, tmp_path)

    assert said == str(tmp_path / "w.pth")
    assert (tmp_path / "w.pth").read_bytes() == DATA
    assert json.loads((tmp_path / hub.LOCK).read_text()) == {
        "w.pth": {"sha256": DIGEST, "repository": "somebody/something", "revision": COMMIT}
    }


def test_what_broke_off_is_gone_on_with(tmp_path):
    with hub_server({"somebody/something/w.pth": DATA}, cut_at=1_000_000) as server:
        pull(server.url, tmp_path)

    assert (tmp_path / "w.pth").read_bytes() == DATA


def test_other_bytes_than_the_manifests_are_put_aside(tmp_path):
    with hub_server({"somebody/something/w.pth": b"other"}) as server:
        said = pull(server.url, tmp_path, sha256=DIGEST)

    assert said.startswith("weights_refused")
    assert DIGEST in said
    assert not (tmp_path / "w.pth").exists()
    assert (tmp_path / "w.pth.refused").read_bytes() == b"other"


@pytest.mark.parametrize(
    ("options", "said"),
    [({"gated": True}, "HF_TOKEN"), ({}, r"has no w\.pth")],
    ids=["gated", "missing"],
)
def test_what_the_hub_does_not_give_says_why(tmp_path, options, said):
    with hub_server({}, **options) as server:
        assert said.replace("\\", "") in pull(server.url, tmp_path)


def test_a_hub_that_is_not_there_is_a_fault_of_the_world(tmp_path):
    assert pull("http://127.0.0.1:9", tmp_path).startswith("hub_unavailable")


def make_file(**fields) -> File:
    return File(**{"name": "w.pth", "repository": "a/b", "licence": FREE} | fields)


def test_a_file_that_is_here_is_pinned_and_enforced_from_then_on(tmp_path):
    (tmp_path / "w.pth").write_bytes(DATA)
    counted: list[int] = []

    hub.pull(make_file(), tmp_path, progress=counted.append)
    assert hub.read_pins(tmp_path)["w.pth"].sha256 == DIGEST
    assert sum(counted) == len(DATA)

    (tmp_path / "w.pth").write_bytes(b"changed")
    with pytest.raises(WeightsRefused, match=DIGEST):
        hub.pull(make_file(), tmp_path)


def test_what_only_the_operator_can_bring_is_asked_for(tmp_path):
    with pytest.raises(WeightsRefused, match="no open address"):
        hub.pull(make_file(repository=None), tmp_path)


def test_a_damaged_note_is_not_believed(tmp_path):
    (tmp_path / hub.LOCK).write_text('{"w.pth": 3}')

    with pytest.raises(WeightsRefused, match="is damaged"):
        hub.read_pins(tmp_path)


def test_names_are_those_of_the_catalogue():
    assert hub.manifest("seedvr") is hub.manifest("fal-ai/seedvr/upscale/image")
    with pytest.raises(ArgumentInvalid, match="seedvr"):
        hub.manifest("enlarger/lanczos")


def test_a_part_can_be_brought_as_another_of_its_files():
    variant = hub.manifest("seedvr").variant("3b")

    first = [file.name for file in hub.chosen(variant, ())]
    other = [file.name for file in hub.chosen(variant, ("seedvr2_ema_3b_fp16.safetensors",))]

    assert first == ["seedvr2_ema_3b.pth", "ema_vae.pth"]
    assert other == ["seedvr2_ema_3b_fp16.safetensors", "ema_vae.pth"]
    with pytest.raises(ArgumentInvalid, match=r"nothing\.pth"):
        hub.chosen(variant, ("nothing.pth",))


def test_every_digest_of_the_catalogue_is_one_and_has_a_source():
    files = [
        file
        for manifest in hub.manifests().values()
        for variant in manifest.variants
        for part in variant.parts
        for file in part.files
    ]

    assert files
    for file in files:
        assert file.sha256 is None or (len(file.sha256) == 64 and int(file.sha256, 16))
        assert file.licence.url.startswith("https://")
