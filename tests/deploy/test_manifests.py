"""deploy/ holds what it should: manifests by Kubernetes' own schemas, an image by the usual rules."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from edgechat.settings import PREFIX, Settings

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
MANIFESTS = DEPLOY / "kubernetes"
OLDEST, NEWEST = "1.32", "1.37"  # of Kubernetes; the pause before a stop is in every cluster since the older one
IMAGE = (DEPLOY / "Dockerfile").read_text()


def load(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found


def manifests() -> list[Path]:
    return [MANIFESTS / name for name in load(MANIFESTS / "kustomization.yaml")["resources"]]


def pod() -> dict[str, Any]:
    spec: dict[str, Any] = load(MANIFESTS / "deployment.yaml")["spec"]["template"]["spec"]
    return spec


def test_every_file_is_used() -> None:
    assert {path.name for path in MANIFESTS.iterdir()} == {"kustomization.yaml", *(path.name for path in manifests())}


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("path", manifests(), ids=lambda path: path.stem)
def test_manifests_follow_the_schema(path: Path, version: str) -> None:
    kubernetes_validate.validate(load(path), version, strict=True)


@pytest.mark.parametrize("wrong", [{"replicaz": 1}, {"replicas": "one"}, {"strategy": {"type": "Recreate", "x": 1}}])
def test_the_schema_refuses_what_is_wrong(wrong: dict[str, Any]) -> None:
    manifest = deepcopy(load(MANIFESTS / "deployment.yaml"))
    manifest["spec"] |= wrong
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, NEWEST, strict=True)


def test_what_is_built_of_them_follows_the_schema_too() -> None:
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not installed: what Kustomize makes of the manifests is not looked at")
    made = subprocess.run(["kubectl", "kustomize", str(MANIFESTS)], capture_output=True, text=True, check=True).stdout
    found = [one for one in yaml.safe_load_all(made) if one]
    assert len(found) == len(manifests())
    for one in found:
        kubernetes_validate.validate(one, NEWEST, strict=True)
    (deployment,) = [one for one in found if one["kind"] == "Deployment"]
    assert deployment["spec"]["template"]["spec"]["containers"][0]["image"].startswith("edgechat:")


def test_a_pod_has_no_more_than_it_needs() -> None:
    """What the Pod Security Standard `restricted` asks for, and a root that is not written."""
    spec = pod()
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False  # the service's name would make variables that look like settings
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in spec["containers"]:
        about = container["securityContext"]
        assert about["allowPrivilegeEscalation"] is False
        assert about["readOnlyRootFilesystem"] is True
        assert about["capabilities"] == {"drop": ["ALL"]}
        assert set(container["resources"]) == {"requests", "limits"}
        assert {f"{kind}Probe" for kind in ("startup", "liveness", "readiness")} <= set(container)


def test_conversations_keep_their_one_writer() -> None:
    spec = load(MANIFESTS / "deployment.yaml")["spec"]
    assert (spec["replicas"], spec["strategy"]["type"]) == (1, "Recreate")


def test_probes_ask_routes_that_exist_and_need_no_key() -> None:
    (container,) = pod()["containers"]
    paths = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    assert paths == {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"}


def test_names_and_ports_agree() -> None:
    (container,) = pod()["containers"]
    service, policy = load(MANIFESTS / "service.yaml"), load(MANIFESTS / "network.yaml")
    labels = load(MANIFESTS / "deployment.yaml")["spec"]["template"]["metadata"]["labels"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert service["spec"]["selector"].items() <= labels.items()
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    assert service["spec"]["ports"][0]["targetPort"] in ports
    assert f"EXPOSE {ports['http']}" in IMAGE
    claims = {
        volume["persistentVolumeClaim"]["claimName"] for volume in pod()["volumes"] if "persistentVolumeClaim" in volume
    }
    assert claims == {load(MANIFESTS / "volume.yaml")["metadata"]["name"]}
    assert load(MANIFESTS / "namespace.yaml")["metadata"]["name"] == load(MANIFESTS / "kustomization.yaml")["namespace"]
    assert f"--uid {pod()['securityContext']['runAsUser']} " in IMAGE


def variables() -> Iterator[str]:
    yield from (one["name"] for one in pod()["containers"][0]["env"])
    yield from load(DEPLOY / "compose.yaml")["services"]["edgechat"]["environment"]
    for path in DEPLOY.rglob("*"):
        if path.is_file() and path.suffix != ".pyc":  # what a server that was started from here leaves
            yield from re.findall(r"EDGECHAT_[A-Z]+(?:_[A-Z]+)*(?==)", path.read_text())


def test_every_setting_that_is_named_exists() -> None:
    named = set(variables())
    assert named >= {"EDGECHAT_HOSTS", "EDGECHAT_KEYS", "EDGECHAT_HOME"}
    assert named <= {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}


# ── the image ──


def steps() -> list[tuple[str, str]]:
    """(instruction, rest) of each step."""
    text = re.sub(r"\\\n", " ", "\n".join(line for line in IMAGE.splitlines() if not line.startswith("#")))
    pairs = (line.strip().partition(" ") for line in text.splitlines() if line.strip())
    return [(word, re.sub(r"\s+", " ", rest)) for word, _, rest in pairs]


def test_the_image_follows_the_usual_rules() -> None:
    found = steps()
    known = ["FROM", "ENV", "RUN", "WORKDIR", "COPY", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK"]
    assert {word for word, _ in found} <= {
        *known,
        "ENTRYPOINT",
        "CMD",
    }  # no ADD: it fetches addresses, unpacks archives
    bases = [rest.split()[0] for word, rest in found if word == "FROM"]
    assert len(bases) == 2
    assert all(re.fullmatch(r"python:3\.\d+-slim-\w+", base) for base in bases)
    last = max(place for place, (word, _) in enumerate(found) if word == "FROM")
    final = found[last:]
    assert [rest for word, rest in final if word == "USER"] == ["10001:10001"]
    assert not any(word == "RUN" for word, _ in final[[word for word, _ in final].index("USER") :])
    assert [word for word, _ in final].count("HEALTHCHECK") == 1
    assert not any("apt-get" in rest for word, rest in final)  # no compiler goes along
    for word, rest in found:
        if word in ("ENTRYPOINT", "CMD"):
            assert rest.startswith("["), "a shell in front would keep the signals for itself"
        if "apt-get install" in rest:
            assert "--no-install-recommends" in rest
            assert "rm -rf /var/lib/apt/lists/*" in rest
        if "pip install" in rest:
            assert "--no-cache-dir" in rest
            assert "--constraint constraints.txt" in rest
        assert "sudo" not in rest


def test_what_the_image_copies_is_sent_to_the_builder_and_nothing_else() -> None:
    root = DEPLOY.parent
    ignored = (root / ".dockerignore").read_text().split()
    assert ignored[0] == "*"
    let_in = {line[1:] for line in ignored if line.startswith("!")}
    copied = {
        name for word, rest in steps() if word == "COPY" and not rest.startswith("--from") for name in rest.split()[:-1]
    }
    assert copied == let_in
    assert all(any(root.glob(name)) for name in let_in)


def test_compose_holds_the_container_as_tight_as_kubernetes_does() -> None:
    (service,) = load(DEPLOY / "compose.yaml")["services"].values()
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_the_unit_is_as_hard_as_it_says() -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed: the unit's exposure is not looked at")
    unit = DEPLOY / "edgechat.service"
    command = ["systemd-analyze", "security", "--offline=yes", str(unit)]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert found, said
    print(f"systemd-analyze security: {found[1]}")
    assert float(found[1]) <= 1.5
