"""docker-compose.yml and the images, as far as they can be checked without a Docker engine."""

from __future__ import annotations

import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from ops.local.kafka_jars import KAFKA_VERSION
from ops.local.minio import REVISION
from schemas.settings import Settings

ROOT = Path(__file__).resolve().parent.parent.parent
COMPOSE = ROOT / "docker-compose.yml"
DEFINITION: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
SERVICES: dict[str, dict[str, Any]] = DEFINITION["services"]
OURS = [name for name, service in SERVICES.items() if service["image"] in {"easel-service", "easel-worker"}]
DOCKERFILE = (ROOT / "ops/images/easel.Dockerfile").read_text()
WORKDIR = "/srv/easel"


def setting_names() -> set[str]:
    """Each EASEL_* variable that an easel process reads; a secret may be named by its file, too."""
    names = set()
    for name, field in Settings.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            names |= {f"EASEL_{name}_{inner}".upper() for inner in section.model_fields}
        else:
            names.add(f"EASEL_{name}".upper())
    return names | {f"{name}_FILE" for name in names if name.endswith(("_KEY", "_PASSWORD"))}


def test_it_is_a_compose_file() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    answer = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert answer.returncode == 0, answer.stdout


def test_the_parts_are_there() -> None:
    assert set(SERVICES) == {"kafka", "store", "topics", "admission", "worker", "worker-gpu", "webhooks", "api"}
    assert set(OURS) == {"topics", "admission", "worker", "worker-gpu", "webhooks", "api"}
    assert SERVICES["worker-gpu"]["profiles"] == ["gpu"]
    assert all("profiles" not in service for name, service in SERVICES.items() if name != "worker-gpu")


@pytest.mark.parametrize("name", OURS)
def test_the_command_exists(name: str) -> None:
    program, *arguments = SERVICES[name]["command"]
    assert program == "easel"
    answer = subprocess.run(
        [sys.executable, "-m", "ops.cli", *arguments, "--help"],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
    )
    assert answer.returncode == 0, answer.stderr


@pytest.mark.parametrize("name", OURS)
def test_each_variable_is_a_setting_with_a_valid_value(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = {key: value for key, value in SERVICES[name]["environment"].items() if key.startswith("EASEL_")}
    assert set(environment) <= setting_names()
    secret = tmp_path / "secret"
    secret.write_text("from-a-file\n")
    for key, value in environment.items():
        monkeypatch.setenv(key, str(secret) if value.startswith("/run/secrets/") else value)
    settings = Settings()
    assert settings.kafka.bootstrap_servers == "kafka:19092"
    assert settings.store.secret_key is not None
    assert settings.store.secret_key.get_secret_value() == "from-a-file"


def test_no_secret_is_in_the_file() -> None:
    for name, service in SERVICES.items():
        for key, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|SECRET|_KEY|ROOT_USER|TOKEN", key):
                assert value.startswith("/run/secrets/"), f"{name}: {key} is not a file"
                assert PurePosixPath(value).name in service["secrets"], f"{name}: {key} names no secret of the service"
        assert set(service.get("secrets", [])) <= set(DEFINITION["secrets"])
    for secret in DEFINITION["secrets"].values():
        assert secret["file"].startswith("./config/"), "git ignores config/, and nothing else that holds secrets"
    ignored = subprocess.run(["git", "check-ignore", "-q", "config/secrets/x"], check=False, cwd=ROOT, timeout=30)
    assert ignored.returncode == 0


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["user"] in {"1000:1000", "appuser"}
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service.get("read_only") or name == "kafka", "Kafka's image writes its settings when it starts"
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:"), "what is published to the world is the operator's choice"


@pytest.mark.parametrize("name", [name for name in SERVICES if name != "topics"])
def test_each_server_says_when_it_is_healthy(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"


@pytest.mark.parametrize(
    ("name", "port"),
    [
        ("admission", Settings.model_fields["admission"].default.health_port),
        ("worker", Settings.model_fields["generation"].default.health_port),
        ("webhooks", Settings.model_fields["webhooks"].default.health_port),
        ("api", Settings.model_fields["api"].default.port),
    ],
)
def test_health_is_asked_where_the_service_listens(name: str, port: int) -> None:
    assert f"http://127.0.0.1:{port}/health/ready" in SERVICES[name]["healthcheck"]["test"][-1]


def test_dependencies_exist_and_are_waited_for() -> None:
    for service in SERVICES.values():
        for other, condition in service.get("depends_on", {}).items():
            finished = condition["condition"] == "service_completed_successfully"
            assert finished if other == "topics" else "healthcheck" in SERVICES[other]


def test_a_worker_may_drain_before_it_is_killed() -> None:
    drain_s = Settings.model_fields["generation"].default.drain_s
    for name in ("worker", "worker-gpu"):
        assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) > drain_s


def test_volumes_are_declared_or_are_the_configuration() -> None:
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            source, _, target = volume.partition(":")
            if source.startswith("./"):
                assert volume == "./config:/etc/easel:ro", name
            else:
                assert source in DEFINITION["volumes"], name
                assert target.startswith("/"), name


def copied() -> list[str]:
    """The sources of the easel image's COPY lines."""
    lines = re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, flags=re.MULTILINE)
    return [source for line in lines for source in line.split()[:-1]]


def test_the_image_copies_what_there_is_and_what_docker_may_see() -> None:
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in ignore if line.startswith("!")}
    tracked = subprocess.run(
        ["git", "ls-files"], check=True, capture_output=True, text=True, cwd=ROOT, timeout=30
    ).stdout.splitlines()
    for source in copied():
        assert source in allowed, f".dockerignore hides {source}"
        assert any(fnmatch(path, source) or path.startswith(f"{source}/") for path in tracked), f"no {source}"
    assert f"WORKDIR {WORKDIR}" in DOCKERFILE


def test_each_path_that_a_service_is_given_is_in_its_image_or_mounted() -> None:
    for name in OURS:
        service = SERVICES[name]
        mounted = [volume.split(":")[1] for volume in service["volumes"]] + ["/run/secrets", "/tmp"]
        for key, value in service["environment"].items():
            if not value.startswith("/"):
                continue
            in_image = value.startswith(f"{WORKDIR}/") and value.removeprefix(f"{WORKDIR}/") in copied()
            assert in_image or any(value.startswith(place) for place in mounted), f"{name}: {key}={value}"


def test_models_of_the_catalogue_are_in_the_workers_image() -> None:
    catalogue = yaml.safe_load((ROOT / "models.yaml").read_text())
    pipelines = re.findall(r"models/[\w./-]+", yaml.safe_dump(catalogue))
    assert pipelines, "models.yaml names no folder: names have changed"
    assert all(any(path.startswith(f"{source}/") for source in copied()) for path in pipelines)


def test_the_versions_are_those_of_the_local_stack() -> None:
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{KAFKA_VERSION}"
    assert f"github.com/minio/minio@{REVISION}" in (ROOT / "ops/images/minio.Dockerfile").read_text()


def test_images_do_not_run_as_root() -> None:
    for path in (ROOT / "ops/images").glob("*.Dockerfile"):
        stages = re.split(r"^FROM ", path.read_text(), flags=re.MULTILINE)[1:]
        for stage in stages:
            users = re.findall(r"^USER (\S+)$", stage, flags=re.MULTILINE)
            is_build_stage = " AS build" in stage.splitlines()[0]
            assert is_build_stage or users[-1] not in {"root", "0"}, path.name
