"""The files under ``deploy/``: what can read them here reads them, and the settings in them are ours."""

from __future__ import annotations

import fnmatch
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from click import Context

from streamer.cli.main import COMMANDS, main
from streamer.config import load
from streamer.config.tree import Gateway, Http

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
OURS = ("topics", "worker-a", "worker-b", "encoder", "gateway")
EXPOSURE_MAX = 20
"""Tenths, as ``systemd-analyze security`` counts: what it calls OK ends at 4.0."""
PROBES = {"/livez", "/readyz"}


def documents() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every manifest of Kubernetes, with its file's name."""
    for path in MANIFESTS:
        yield from ((path.name, document) for document in yaml.safe_load_all(path.read_text()))


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    yield from (
        (name, found["spec"]["template"]["spec"]) for name, found in documents() if found["kind"] in {"Deployment", "Job"}
    )


def plain(environment: Mapping[str, object]) -> dict[str, str]:
    """The variables that are settings, without files that only the deployed machine has."""
    return {
        name: str(value)
        for name, value in environment.items()
        if name.startswith("STREAMER_") and not name.endswith("_FILE") and value is not None
    }


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's, in order."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines if line.strip()]


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return found


def test_compose_reads_its_file() -> None:
    command = next((one for one in (["docker-compose"], ["docker", "compose"]) if _answers(one)), None)
    if command is None:
        pytest.skip("no docker-compose here; on Debian: apt-get install docker-compose")
    done = subprocess.run(
        [*command, "-f", DEPLOY / "compose.yaml", "config", "-q"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def _answers(command: list[str]) -> bool:
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run([*command, "version"], capture_output=True, check=False).returncode == 0


def test_compose_runs_commands_that_there_are_with_settings_that_there_are() -> None:
    services = compose()["services"]
    assert set(OURS) < set(services)
    for name in OURS:
        assert services[name]["command"][0] in COMMANDS
        load(None, plain({**services[name]["environment"]}) | {"STREAMER_GATEWAY__CORS_ORIGINS": ""})


def test_compose_publishes_nothing_beyond_this_machine_and_waits_for_health() -> None:
    for name, service in compose()["services"].items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        assert "healthcheck" in service or name in OURS, f"{name} has no health check, and the image of ours does not serve it"
    assert {"kafka", "valkey", "prometheus", "grafana"} < set(compose()["services"])


def test_compose_keeps_what_must_outlive_a_container_in_volumes() -> None:
    document = compose()
    mounted = {volume.partition(":")[0] for one in document["services"].values() for volume in one.get("volumes", [])}
    assert {volume for volume in mounted if not volume.startswith(".")} == set(document["volumes"])
    snapshots = {volume for name in ("worker-a", "worker-b") for volume in document["services"][name]["volumes"]}
    assert snapshots == {"snapshots:/var/lib/streamer/snapshots"}, "a standby must read what the owner wrote"


def test_the_commands_of_the_readme_name_files_services_ports_and_options_that_there_are() -> None:
    readme, services = (DEPLOY / "README.md").read_text(), compose()["services"]
    lines = [line.strip() for line in readme.splitlines() if line.startswith("    ")]
    named = [word for line in lines for word in line.split() if word.startswith("deploy/")]
    assert len(named) > 3
    assert [one for one in named if not list(ROOT.glob(one))] == []
    built = re.findall(r"compose\.yaml build (\S+)", readme)
    assert built == [name for name, service in services.items() if "build" in service]
    [(service, command, options)] = re.findall(r"compose\.yaml run --rm --no-deps (\S+) (\S+) (.*)", readme)
    assert "worker" in services[service]["command"]
    known = {name for one in main.get_command(Context(main), command).params for name in one.opts}
    assert set(re.findall(r"--[a-z-]+", options)) <= known
    published = {int(port) for one in services.values() for port in re.findall(r":-(\d+)\}:", str(one.get("ports")))}
    rows = re.findall(r"^\| ([\d, ]+) \|", readme, flags=re.MULTILINE)
    assert {int(port) for row in rows for port in row.split(",")} == published
    units = set(re.findall(r"streamer-[a-z]+(?:@[ab])?", next(line for line in lines if "systemctl enable" in line)))
    assert {re.sub("@.", "@", unit) + ".service" for unit in units} == {unit.name for unit in UNITS}


def test_prometheus_asks_the_services_of_compose() -> None:
    services = compose()["services"]
    [group] = yaml.safe_load((DEPLOY / "compose-targets.yml").read_text())
    asked = {target.partition(":")[0]: int(target.partition(":")[2]) for target in group["targets"]}
    assert asked == {name: Gateway().port if name == "gateway" else Http().port for name in OURS if name != "topics"}
    assert group["labels"]["namespace"] == services["worker-a"]["environment"]["STREAMER_NAMESPACE"]


@pytest.mark.skipif(not (DEPLOY / "prometheus").is_dir(), reason="no rules and dashboards in this checkout")
def test_what_compose_mounts_is_there() -> None:
    mounted = {volume.partition(":")[0] for one in compose()["services"].values() for volume in one.get("volumes", [])}
    assert [one for one in mounted if one.startswith(".") and not (DEPLOY / one).exists()] == []
    assert (DEPLOY / "prometheus" / "prometheus.yml").is_file()


def test_manifests_are_valid_for_kubernetes() -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    for name, document in documents():
        try:
            kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
        except kubernetes_validate.ValidationError as error:
            pytest.fail(f"{name}: {document['kind']} {document['metadata']['name']}: {error.message}")
    assert {"Deployment", "Job", "ConfigMap", "PodDisruptionBudget", "NetworkPolicy", "Service"} <= {
        document["kind"] for _, document in documents()
    }


def test_pods_run_commands_and_settings_that_there_are(tmp_path: Path) -> None:
    config = next(document for _, document in documents() if document["kind"] == "ConfigMap")
    toml = tmp_path / "streamer.toml"
    toml.write_text(config["data"]["streamer.toml"])
    for name, pod in pods():
        [container] = pod["containers"]
        assert container["args"][0] in COMMANDS, name
        given = {one["name"]: one.get("value", "redis://redis:6379/0") for one in container["env"]}
        loaded = load(toml, plain(given))
        ports = {port["containerPort"] for port in container.get("ports", [])}
        assert ports <= {loaded.gateway.port if container["args"][0] == "gateway" else loaded.http.port}, name


def test_secrets_are_mounted_key_by_key_and_exist_where_files_are_named() -> None:
    for name, pod in pods():
        [container] = pod["containers"]
        [secrets] = [volume["secret"] for volume in pod["volumes"] if volume["name"] == "secrets"]
        named = {one["value"].rpartition("/")[2] for one in container["env"] if one["name"].endswith("_FILE")}
        assert {item["key"] for item in secrets["items"]} == named | {"kafka-ca.pem"}, name


def test_pods_have_no_rights_and_are_probed() -> None:
    for name, pod in pods():
        [container] = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["enableServiceLinks"] is False, f"{name}: a service named streamer would make unknown settings"
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        if name != "topics-job.yaml":
            probed = {container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")}
            assert probed == PROBES, name


def test_a_selector_finds_the_pods_it_means() -> None:
    labels = [
        document["spec"]["template"]["metadata"]["labels"] for _, document in documents() if document["kind"] == "Deployment"
    ]
    for name, document in documents():
        spec = document.get("spec", {})
        selector = spec.get("podSelector") or spec.get("selector")
        wanted = (selector or {}).get("matchLabels") or (selector if document["kind"] == "Service" else None)
        if wanted:
            assert any(wanted.items() <= one.items() for one in labels), f"{name}: {document['metadata']['name']}"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_units_are_understood_by_systemd_and_give_few_rights(tmp_path: Path) -> None:
    copies = []
    for path in UNITS:
        copy = tmp_path / path.name
        text, count = re.subn(r"^ExecStart=\S+", f"ExecStart={sys.executable}", path.read_text(), flags=re.MULTILINE)
        assert count == 1, path.name
        copy.write_text(text)
        copies.append(copy)
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *copies], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (0, "")
    security = ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE_MAX}", "--no-pager"]
    done = subprocess.run([*security, *copies], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2_000:]


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)
def test_a_unit_runs_a_command_that_there_is(path: Path) -> None:
    [line] = re.findall(r"^ExecStart=(.*)$", path.read_text(), flags=re.MULTILINE)
    executable, command, *_ = line.split()
    assert (Path(executable).name, command in COMMANDS) == ("streamer", True)


def test_the_image_runs_without_rights_and_is_checked() -> None:
    found = instructions()
    last_stage = found[max(n for n, (name, _) in enumerate(found) if name == "FROM") :]
    users = [text for name, text in last_stage if name == "USER"]
    assert users
    assert not users[-1].startswith(("0", "root"))
    [check] = [text for name, text in last_stage if name == "HEALTHCHECK"]
    assert "HEALTH_URL" in check
    [entry] = [text for name, text in last_stage if name == "ENTRYPOINT"]
    assert entry == '["tini", "--", "streamer"]'


def test_the_settings_of_the_image_are_ours() -> None:
    pairs = dict(pair.split("=", 1) for name, text in instructions() if name == "ENV" for pair in text.split() if "=" in pair)
    load(None, plain(pairs))
    assert f":{Http().port}/livez" in pairs["HEALTH_URL"]
    [exposed] = [text for name, text in instructions() if name == "EXPOSE"]
    assert exposed.split() == [str(Http().port), str(Gateway().port)]


def test_the_image_copies_what_the_build_is_given() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    kept = [line[1:] for line in lines if line.startswith("!")]
    assert "*" in lines, "everything else stays out: the environment alone has several GB"
    for name, text in instructions():
        if name == "COPY" and "--from" not in text:
            for source in text.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert any(fnmatch.fnmatch(source, pattern) for pattern in kept), f".dockerignore keeps {source} out"
