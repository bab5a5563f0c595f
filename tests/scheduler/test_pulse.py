"""Whether a process lives, told by a file's age."""

import threading
from pathlib import Path

import pytest

from scheduler import pulse
from scheduler.errors import SettingsInvalid
from scheduler.settings import Settings
from tests.workers.test_liveness import make_liveness


def test_a_process_that_waits_touches_the_file_at_once(tmp_path: Path) -> None:
    file = tmp_path / "pulse"
    stop = threading.Event()
    stop.set()

    pulse.beat_until(stop, Settings(pulse=file))

    assert file.exists()


def test_a_worker_touches_the_file(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "pulse"
    liveness = make_liveness(settings.model_copy(update={"pulse": file}))

    liveness.start()
    liveness.stop()

    assert file.exists()


def test_a_file_that_cant_be_touched_is_named_with_the_setting(tmp_path: Path) -> None:
    settings = Settings(pulse=tmp_path / "absent" / "pulse")

    with pytest.raises(SettingsInvalid, match=r"ENLARGER_PULSE: .*absent/pulse can't be touched"):
        pulse.beat(settings)
