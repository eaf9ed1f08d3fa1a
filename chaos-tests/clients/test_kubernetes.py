"""The manifests of deploy/kubernetes: do they render, fit the schemas of Kubernetes, and start our programs with flags and
variables that these have?"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OVERLAYS = ROOT / "deploy" / "kubernetes" / "overlays"
BINARIES = {"node": "TERCET_NODE_BINARY", "sentinel": "TERCET_SENTINEL_BINARY"}

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")


def rendered(overlay):
    import yaml

    run = subprocess.run(["kubectl", "kustomize", str(OVERLAYS / overlay)], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    return [document for document in yaml.safe_load_all(run.stdout) if document]


def stateful_sets(overlay):
    return {found["metadata"]["name"]: found for found in rendered(overlay) if found["kind"] == "StatefulSet"}


def container(stateful_set):
    return stateful_set["spec"]["template"]["spec"]["containers"][0]


@pytest.mark.parametrize("overlay", ["dev", "production"])
def test_every_object_fits_the_schema_of_its_kind(overlay):
    import kubernetes_validate

    objects = rendered(overlay)
    assert len(objects) >= 12
    for found in objects:
        kubernetes_validate.validate(found, "1.30", strict=True)


def test_an_object_with_an_unknown_field_does_not_fit():
    import kubernetes_validate

    found = stateful_sets("dev")["node"]
    found["spec"]["replicaCount"] = 3
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(found, "1.30", strict=True)


@pytest.mark.parametrize("overlay", ["dev", "production"])
@pytest.mark.parametrize("name", ["node", "sentinel"])
def test_flags_and_variables_are_those_of_the_program(overlay, name):
    binary = os.environ.get(BINARIES[name]) or ROOT / "target" / "debug" / f"tercet-{name}"
    known = subprocess.run([str(binary), "--help"], capture_output=True, text=True, timeout=30).stdout
    flags = set(re.findall(r"--([a-z][a-z-]+)", known))
    described = container(stateful_sets(overlay)[name])
    for argument in described["args"]:
        assert argument.split("=")[0].removeprefix("--") in flags, argument
    for variable in described["env"]:
        if variable["name"].startswith("TERCET_"):
            flag = variable["name"].removeprefix("TERCET_").lower().replace("_", "-")
            assert flag in flags or flag.removesuffix("-file") in flags, variable["name"]


@pytest.mark.parametrize("name", ["node", "sentinel"])
def test_pods_are_restricted_and_keep_their_data(name):
    stateful_set = stateful_sets("production")[name]
    pod = stateful_set["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container(stateful_set)["securityContext"]["readOnlyRootFilesystem"] is True
    assert container(stateful_set)["securityContext"]["capabilities"]["drop"] == ["ALL"]
    assert pod["automountServiceAccountToken"] is False
    assert [claim["metadata"]["name"] for claim in stateful_set["spec"]["volumeClaimTemplates"]] == ["data"]
    # A name is for ever, an address is not.
    assert not re.search(r"\d+\.\d+\.\d+\.\d+:", " ".join(container(stateful_set)["args"]))


def test_a_pod_that_is_not_ready_has_a_name_already():
    services = {found["metadata"]["name"]: found["spec"] for found in rendered("production") if found["kind"] == "Service"}
    for name in ("nodes", "sentinels"):
        assert services[name]["clusterIP"] == "None"
        assert services[name]["publishNotReadyAddresses"] is True
    ports = {port["port"] for port in services["tercet"]["ports"]}
    assert ports == {6379, 5672, 50051, 15672}
