"""Many bundles together, or one job alone, and nobody once the gate is closed."""

import threading

import pytest

from workers.gate import Closed, Gate


def entering(gate: Gate, *, alone: bool) -> tuple[threading.Thread, threading.Event]:
    """Enter and leave in the background; the event tells that it was inside."""
    inside = threading.Event()

    def enter() -> None:
        try:
            with gate.entered(alone=alone):
                inside.set()
        except Closed:
            return

    thread = threading.Thread(target=enter)
    thread.start()
    return thread, inside


def test_bundles_are_inside_together() -> None:
    gate = Gate()

    with gate.entered(alone=False):
        _, inside = entering(gate, alone=False)

        assert inside.wait(10)


def test_a_lone_job_waits_until_everybody_has_left() -> None:
    gate = Gate()

    with gate.entered(alone=False):
        _, inside = entering(gate, alone=True)
        came_early = inside.wait(0.2)

    assert not came_early
    assert inside.wait(10)


def test_nobody_comes_in_beside_a_lone_job() -> None:
    gate = Gate()

    with gate.entered(alone=True):
        _, bundle = entering(gate, alone=False)
        _, lone = entering(gate, alone=True)
        came_early = bundle.wait(0.2) or lone.wait(0.2)

    assert not came_early
    assert bundle.wait(10)
    assert lone.wait(10)


def test_a_lone_job_that_waits_goes_before_bundles_that_come_later() -> None:
    gate = Gate()

    with gate.entered(alone=False):
        _, lone = entering(gate, alone=True)
        lone.wait(0.1)
        _, bundle = entering(gate, alone=False)
        came_early = bundle.wait(0.2)

    assert not came_early
    assert lone.wait(10)
    assert bundle.wait(10)


def test_a_closed_gate_sends_away_who_waits_and_who_comes() -> None:
    gate = Gate()

    with gate.entered(alone=False):
        thread, inside = entering(gate, alone=True)
        gate.close()
        thread.join(10)

    assert not thread.is_alive()
    assert not inside.is_set()
    with pytest.raises(Closed), gate.entered(alone=False):
        pass
