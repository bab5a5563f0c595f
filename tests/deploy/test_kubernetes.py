"""Manifests are what Kubernetes and KEDA take, and ask for what our own programs have."""

import json
import subprocess
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path

import click
import kubernetes_validate
import pytest
from sqlalchemy import text

from models import catalog
from scheduler.cli import main
from scheduler.ledger import steering
from scheduler.ledger.session import Ledger
from scheduler.settings import Settings
from tests.clients.test_javascript import HERE as JAVASCRIPT
from tests.clients.test_javascript import node
from tests.deploy.manifests import (
    OVERLAYS,
    ROOT,
    Manifest,
    container,
    named,
    rendered,
    selects,
    templates,
    written,
)
from tests.factories import make_batch

KUBERNETES = "1.30"
"""The oldest version that has all that is used; `preStop.sleep` came with it."""
OURS_UNTIL_KILLED_S = 15
"""What a drain takes beyond ENLARGER_GRACE_S, as docs/workers.md has it."""
METADATA = ("169.254.169.254", "169.254.170.2", "168.63.129.16", "100.100.100.200", "fd00:ec2::254")


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Ledger]:
    ledger = Ledger(settings, connections=2)
    yield ledger
    ledger.close()


@pytest.fixture(params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> list[Manifest]:
    return rendered(ROOT / "overlays" / request.param)


def check(manifest: Manifest) -> None:
    """Raise for what the published schema doesn't allow, unknown fields included."""
    kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def test_what_is_written_follows_the_published_schemas() -> None:
    found = [each for each in written("base", "worker") if "keda" not in each["apiVersion"]]

    assert {each["kind"] for each in found} >= {"Deployment", "Job", "NetworkPolicy", "Service"}
    for each in found:
        check(each)


def test_what_is_rendered_follows_the_published_schemas(overlay: list[Manifest]) -> None:
    for each in overlay:
        if "keda" not in each["apiVersion"]:
            check(each)


def test_the_schemas_of_keda_are_followed() -> None:
    found = [each for each in written("base", "worker") if "keda" in each["apiVersion"]]
    assert sorted(each["kind"] for each in found) == ["ScaledObject", "TriggerAuthentication"]

    done = subprocess.run(
        [node(), "javascript/validate_keda.mjs"],
        cwd=JAVASCRIPT,
        input=json.dumps(found),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr


def test_every_container_runs_a_command_that_we_have(overlay: list[Manifest]) -> None:
    for _, template in templates(overlay):
        context, args = click.Context(main), list(container(template)["args"])
        command: click.Command = main
        while isinstance(command, click.Group):
            name, found, args = command.resolve_command(context, args)
            assert found is not None, name
            command = found
        parsed = command.make_context(command.name, args)

        for endpoint in (parsed.params.get("endpoints") or "").split(","):
            assert endpoint == "" or catalog.find(endpoint)


def test_with_gpus_every_endpoint_has_its_workers() -> None:
    found = named(rendered(ROOT / "overlays" / "gpu"), "Deployment")
    workers = [each["spec"]["template"] for name, each in found.items() if "worker" in name]

    assert {container(each)["args"][-1] for each in workers} == set(catalog.ENDPOINTS)


def environment(overlay: list[Manifest], template: Manifest) -> dict[str, str]:
    (settings,) = named(overlay, "ConfigMap").values()
    given = {each["name"]: each["value"] for each in container(template).get("env", [])}
    return settings["data"] | given


def test_every_variable_is_a_setting_with_a_value_that_it_takes(overlay: list[Manifest]) -> None:
    for _, template in templates(overlay):
        given = environment(overlay, template)
        values = {name.removeprefix("ENLARGER_").lower(): value for name, value in given.items()}

        assert values.keys() <= Settings.model_fields.keys()
        Settings.model_validate_strings(values | {"redis_prefix": "x"})


def test_a_pod_is_not_killed_before_it_has_drained(overlay: list[Manifest]) -> None:
    for name, template in templates(overlay):
        grace_s = float(environment(overlay, template)["ENLARGER_GRACE_S"])
        stop = container(template).get("lifecycle", {}).get("preStop", {}).get("sleep", {})
        given_s = template["spec"].get("terminationGracePeriodSeconds", 30)

        if name != "migrate":
            assert given_s > grace_s + stop.get("seconds", 0) + OURS_UNTIL_KILLED_S, name


def test_workers_of_spot_machines_have_gone_when_google_takes_them() -> None:
    found = dict(templates(rendered(ROOT / "overlays" / "spot")))
    workers = {name: each for name, each in found.items() if name.startswith("worker-")}

    assert workers
    assert all(each["spec"]["terminationGracePeriodSeconds"] < 30 for each in workers.values())


def reachable(policy: Manifest, address: str) -> bool:
    blocks = [
        peer["ipBlock"]
        for rule in policy["spec"].get("egress", [])
        for peer in rule["to"]
        if "ipBlock" in peer
    ]
    wanted = ip_address(address)
    return any(
        wanted in ip_network(block["cidr"])
        and not any(wanted in ip_network(each) for each in block.get("except", ()))
        for block in blocks
    )


def test_no_pod_reaches_a_machines_metadata(overlay: list[Manifest]) -> None:
    policies = named(overlay, "NetworkPolicy").values()
    for name, template in templates(overlay):
        labels = template["metadata"]["labels"]
        over = [
            policy
            for policy in policies
            if "Egress" in policy["spec"]["policyTypes"]
            and selects(policy["spec"]["podSelector"], labels)
        ]

        assert over, name
        assert not any(reachable(policy, each) for policy in over for each in METADATA)
        assert any(reachable(policy, "203.0.113.7") for policy in over)


def test_every_deployment_has_probes_and_a_budget_for_disruptions(overlay: list[Manifest]) -> None:
    budgets = list(named(overlay, "PodDisruptionBudget").values())
    for name, deployment in named(overlay, "Deployment").items():
        template = deployment["spec"]["template"]
        labels = template["metadata"]["labels"]

        assert {"startupProbe", "livenessProbe"} <= container(template).keys(), name
        assert selects(deployment["spec"]["selector"], labels)
        over = [each for each in budgets if selects(each["spec"]["selector"], labels)]
        assert [each["metadata"]["name"] for each in over] == [name]


def test_secrets_are_named_and_never_written(overlay: list[Manifest]) -> None:
    assert named(overlay, "Secret") == {}
    for _, template in templates(overlay):
        sources = container(template)["envFrom"]

        assert [each["secretRef"]["name"] for each in sources if "secretRef" in each] == [
            "enlarger"
        ]


def test_every_worker_of_gpus_has_one_and_slices_are_given_to_the_small(tmp_path: Path) -> None:
    whole = dict(templates(rendered(ROOT / "overlays" / "gpu")))
    (tmp_path / "kustomization.yaml").write_text(
        f"resources: [{relative(tmp_path, 'overlays/gpu')}]\n"
        f"components: [{relative(tmp_path, 'mig')}]\n"
    )
    sliced = dict(templates(rendered(tmp_path)))

    assert gpus(whole["worker-ccsr"]) == {"nvidia.com/gpu": "1"}
    assert gpus(whole["worker-lanczos"]) == {}
    assert gpus(sliced["worker-ccsr"]) == {"nvidia.com/mig-1g.10gb": "1"}
    assert gpus(sliced["worker-seedvr2"]) == {"nvidia.com/gpu": "1"}


def relative(start: Path, folder: str) -> Path:
    """Name a folder as kustomize wants it: from where it is named."""
    up = "../" * (len(start.resolve().parts) - 1)
    return Path(up) / (ROOT / folder).relative_to("/")


def gpus(template: Manifest) -> dict[str, str]:
    limits = container(template)["resources"]["limits"]
    return {name: value for name, value in limits.items() if name.startswith("nvidia.com/")}


def test_workers_are_scaled_by_what_waits_and_runs_of_their_endpoint(
    overlay: list[Manifest], ledger: Ledger
) -> None:
    workers = {name: each for name, each in templates(overlay) if name not in named(overlay, "Job")}
    for name, scaled in named(overlay, "ScaledObject").items():
        assert scaled["spec"]["scaleTargetRef"]["name"] == name
        query = scaled["spec"]["triggers"][0]["metadata"]["query"]
        endpoint = container(workers[name])["args"][-1]

        with ledger.begin() as session:
            assert session.scalar(text(query)) == 0
        made = make_batch(ledger, 3, endpoint=endpoint)
        with ledger.begin() as session:
            session.execute(text("update jobs set state = 'running' where line = 1"))
            assert session.scalar(text(query)) == 3
            steering.pause(session, made)
            assert session.scalar(text(query)) == 1  # what runs is finished, however long it takes
