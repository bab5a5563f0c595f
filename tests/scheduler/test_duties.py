"""When a duty does its next step."""

import threading
from itertools import count

from scheduler.duties import Duty, attended, wake
from tests.processes import eventually


def test_what_comes_in_ends_the_pause_of_all_but_the_patient() -> None:
    steps = {"prompt": count(), "patient": count()}
    done = {name: [next(each)] for name, each in steps.items()}

    def doing(name: str) -> Duty:
        def step() -> bool:
            done[name].append(next(steps[name]))
            return False

        return Duty(name, step, 3600.0, patient=name == "patient")

    duties = [doing(name) for name in steps]
    with attended(duties, threading.Event()):
        eventually(lambda: all(len(each) == 2 for each in done.values()))  # the first step
        wake(duties)
        eventually(lambda: len(done["prompt"]) == 3)
        assert len(done["patient"]) == 2
