"""`enlarger run` from end to end: real servers, a real worker, a home of the test's own."""

import json
import re
import signal
import subprocess
from pathlib import Path

import pytest

from scheduler.embedded import postgres, redis
from scheduler.errors import ServerMissing
from tests.conftest import missing
from tests.consumer import consumer
from tests.pictures import make_pixels, save
from tests.processes import alive, eventually, family
from tests.scheduler.command import COMMAND, enlarger, surroundings


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        postgres.installed()
        redis.binary()
    except ServerMissing as exc:
        missing(exc)
    monkeypatch.setenv("ENLARGER_HOME", str(tmp_path / "home"))


def photos(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        data = save(make_pixels(30, 20, seed=number), "PNG")
        (folder / f"{number:03}.png").write_bytes(data)
    return folder


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_what_failed_is_retried_by_the_command_that_is_named_and_then_nothing_is_left(
    tmp_path: Path,
) -> None:
    source, results = photos(tmp_path / "photos", 2), tmp_path / "results"
    late = tmp_path / "late.png"
    rows = [{"source": path.as_uri()} for path in (*sorted(source.iterdir()), late)]
    manifest = tmp_path / "rows.jsonl"
    manifest.write_text("\n".join(map(json.dumps, rows)))
    command = ("run", str(manifest), "--to", str(results), "--set", "output_format=jpg")

    with consumer() as server:
        first = enlarger(*command, "--webhook", server.url, ENLARGER_WEBHOOK_ALLOW="127.0.0.0/8")
        told = [each.json()["type"] for each in server.received]
    late.write_bytes(save(make_pixels(30, 20), "PNG"))
    retried = enlarger(*re.findall(r"enlarger (retry) (\w+)", first.err)[0])
    again = enlarger(*command, "--json")

    assert first.code == 1
    assert sorted(told) == ["batch.finished", "batch.reported"]  # before the system was stopped
    assert first.out.splitlines() == [f"{results}/report.html", f"{results}/results.jsonl"]
    assert "2 of 3 enlarged, 1 failed" in first.err
    assert "late.png: " in first.err
    assert (retried.code, retried.out.splitlines()[0]) == (0, "1")
    assert "3 of 3 enlarged" in retried.err
    assert (again.code, again.json()["succeeded"]) == (0, 3)
    assert "Nothing is left to do" in again.err
    names = {path.name for path in results.rglob("*") if path.is_file()}
    assert names == {
        "000.jpg",
        "001.jpg",
        "late.jpg",
        "report.html",
        "results.jsonl",
        "results.parquet",
    }
    assert [row["state"] for row in lines(results / "results.jsonl")] == ["succeeded"] * 3


def test_ctrl_c_stops_cleanly_and_the_same_command_goes_on(tmp_path: Path) -> None:
    source, results = photos(tmp_path / "photos", 300), tmp_path / "results"
    command = ("run", str(source), "--to", str(results))
    running = subprocess.Popen(
        [*COMMAND, *command], env=surroundings(None), stderr=subprocess.PIPE, text=True
    )
    eventually(lambda: any(results.glob("*.png")), within_s=60)
    children = family(running.pid)

    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    done = len(list(results.glob("*.png")))
    again = enlarger(*command)

    assert running.returncode == 130
    assert "goes on where this one stopped" in said
    assert [pid for pid in children if alive(pid)] == []
    assert 0 < done < 300
    assert again.code == 0
    assert "Going on where it stopped" in again.err
    rows = lines(results / "results.jsonl")
    assert [(row["line"], row["state"]) for row in rows] == [
        (number, "succeeded") for number in range(1, 301)
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nowhere", "--to", "out"), "nowhere"),
        ((".", "--to", "out"), "no images"),
        ((".", "--to", "out", "--set", "scale=0"), "from 1 to 8"),
        ((".", "--to", "out", "--endpoint", "enlarger/lanczo"), "choose one of"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], words: str
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)

    answer = enlarger("run", *arguments)

    assert answer.code == 1
    assert words in answer.err
    assert answer.err.count("\n") == 1
    assert not (tmp_path / "home" / "postgres").exists()


def test_an_endpoint_whose_weights_are_not_here_is_refused_with_the_command_that_brings_them(
    tmp_path: Path,
) -> None:
    folder = photos(tmp_path / "photos", 1)
    arguments = ("run", str(folder), "--to", str(tmp_path / "out"))

    answer = enlarger(*arguments, "--endpoint", "fal-ai/seedvr/upscale/image")

    assert answer.code == 1
    assert "ENLARGER_WEIGHTS is not set" in answer.err
    assert "enlarger weights pull seedvr --variant 3b" in answer.err


def test_an_estimate_runs_a_sample_and_leaves_nothing_behind(tmp_path: Path) -> None:
    source, results = photos(tmp_path / "photos", 5), tmp_path / "results"
    (source / "broken.png").write_bytes(b"no image")
    command = ("run", str(source), "--to", str(results), "--endpoint", "enlarger/lanczos")

    found = enlarger(*command, "--estimate", "6", "--price-per-hour", "3600", "--json")

    assert found.code == 0, found.err
    told = found.json()
    assert (told["rows"], told["sampled"], told["workers"]) == (6, 6, 1)
    assert told["failures"]["likely"] == 1
    for name in ("duration_s", "worker_s", "bytes_out"):
        assert 0 < told[name]["low"] <= told[name]["likely"] <= told[name]["high"]
    assert told["cost"]["likely"] == pytest.approx(told["worker_s"]["likely"])
    assert list(results.iterdir()) == []
