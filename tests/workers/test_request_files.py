"""A request's files beside the picture, and results that nobody may read in the store."""

import json
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, ClassVar, Self

import pytest
from pydantic import SecretStr

from models.catalog import ENDPOINTS
from models.checkpoint.manifest import LocalWeights
from models.image import Picture
from models.lanczos.pipeline import LanczosUpscaler
from models.lanczos.schema import LanczosRequest
from models.options import NoOptions
from models.schema import FileUrl
from models.upscaler import Context, Result
from scheduler.files import sealing
from scheduler.files.signing import SEALED, Signer
from scheduler.ledger.session import Ledger
from scheduler.ledger.tables import JobState
from scheduler.settings import Settings
from tests.factories import ENDPOINT
from tests.faulty_http import Faulty, Request, faulty_http
from tests.workers.test_workshop import PHOTO, only, real_rig, submit
from workers import codec


class StyledRequest(LanczosRequest):
    lora_url: FileUrl | None = None
    base_url: FileUrl | None = None


class Styled:
    """Enlarges, and remembers what it found in its files."""

    found: ClassVar[list[dict[str, bytes]]] = []
    paths: ClassVar[list[Path]] = []

    def __init__(self) -> None:
        self._plain = LanczosUpscaler()

    @classmethod
    def load(
        cls, weights: LocalWeights | None, *, options: NoOptions, device: str, dtype: str
    ) -> Self:
        return cls()

    def upscale(self, picture: Picture, request: Any, context: Context) -> Result:
        self.found.append({name: path.read_bytes() for name, path in context.files.items()})
        self.paths.extend(context.files.values())
        return self._plain.upscale(picture, request, context)


STYLED = {
    ENDPOINT: replace(
        ENDPOINTS[ENDPOINT],
        schema=f"{__name__}:StyledRequest",
        pipeline=f"{__name__}:Styled",
    )
}


def run(ledger: Ledger, settings: Settings, folder: Path, arguments: dict[str, Any]) -> Any:
    batch = submit(ledger, folder, PHOTO, arguments=json.dumps(arguments))
    with real_rig(ledger, settings, endpoints=STYLED) as it:
        it.run(it.queue(batch))
    return only(ledger, batch)


def test_every_file_of_a_request_is_a_local_path_while_the_job_runs(
    ledger: Ledger, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "lora.safetensors").write_bytes(b"of a folder")
    network = IPv4Network("127.0.0.1/32")
    allowed = settings.model_copy(update={"input_allow": (network,)})

    def answer(request: Request, _faulty: Faulty) -> None:
        request.answer(200, b"of the web")

    with faulty_http(answer) as web:
        row = run(
            ledger,
            allowed,
            tmp_path,
            {
                "lora_url": (tmp_path / "lora.safetensors").as_uri(),
                "base_url": f"{web.url}/base.safetensors",
            },
        )

    assert row.state == JobState.SUCCEEDED, row.error
    assert Styled.found.pop() == {"lora_url": b"of a folder", "base_url": b"of the web"}
    assert [path for path in Styled.paths if path.exists()] == [], "they go with the job"


@pytest.mark.parametrize(
    ("address", "code"),
    [
        ("file:///nowhere/lora.bin", "object_missing"),
        ("http://127.0.0.1:9/lora.bin", "url_refused"),
        ("{large}", "object_too_large"),
    ],
    ids=["missing", "inside", "large"],
)
def test_a_file_that_can_t_be_had_fails_the_job_under_its_field(
    ledger: Ledger, settings: Settings, tmp_path: Path, address: str, code: str
) -> None:
    (tmp_path / "large").write_bytes(bytes(1001))
    small = settings.model_copy(update={"max_upload_bytes": 1000})
    address = address.format(large=(tmp_path / "large").as_uri())

    row = run(ledger, small, tmp_path, {"lora_url": address})

    assert row.state == JobState.FAILED
    assert (row.error["code"], row.error["field"]) == (code, "lora_url")


def test_a_sealed_result_can_be_read_with_the_key_alone(
    ledger: Ledger, settings: Settings, tmp_path: Path
) -> None:
    keyed = settings.model_copy(update={"secret_key": SecretStr("k" * 32)})
    batch = submit(ledger, tmp_path, PHOTO, options={SEALED: True})

    with real_rig(ledger, keyed) as it:
        it.run(it.queue(batch))

    row = only(ledger, batch)
    assert row.state == JobState.SUCCEEDED, row.error
    assert row.outcome is not None
    (stored,) = row.outcome["objects"]
    sealed = (tmp_path / "out" / "result.png").read_bytes()
    assert stored["sealed"] is True
    assert b"PNG" not in sealed
    plain = Signer.of(keyed).unseal(sealed, place=str(row.id))
    assert plain.startswith(b"\x89PNG")
    assert len(plain) == stored["size_bytes"]


def test_arguments_that_are_not_to_be_kept_stay_sealed_and_so_does_what_comes_of_them(
    ledger: Ledger, settings: Settings, tmp_path: Path
) -> None:
    signer = Signer.of(settings)
    place = (tmp_path / "out" / "result.png").as_uri()
    hidden = sealing.hide(signer, {"scale": 3}, place=place)
    batch = submit(ledger, tmp_path, PHOTO, arguments=json.dumps(hidden), seed=1234567)

    with real_rig(ledger, settings) as it:
        it.run(it.queue(batch))

    row = only(ledger, batch)
    assert row.state == JobState.SUCCEEDED, row.error
    assert row.outcome is not None
    assert row.arguments == hidden
    assert "1234567" not in json.dumps(row.outcome["body"])
    body = sealing.reveal(signer, row.outcome["body"], place=str(row.id))
    assert (body["seed"], body["image"]["width"]) == (1234567, 90)
    picture = (tmp_path / "out" / "result.png").read_bytes()
    assert {"source", "arguments"} & codec.read_provenance(picture).keys() == set()
