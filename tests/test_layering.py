"""The arrows between the packages point down only, and the SDK stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = {
    "schemas": {"schemas"},
    "transport": {"transport", "schemas"},
    "consumer": {"consumer", "transport", "schemas"},
    "producer_api": {"producer_api", "transport", "schemas"},
    "ops": {"ops", "consumer", "producer_api", "transport", "schemas"},
}
"""Package → our packages that it may import."""

TORCH_STACK = {"torch", "diffusers", "transformers", "accelerate", "peft", "safetensors"}
KAFKA_CLIENTS = {"aiokafka", "kafka", "confluent_kafka"}
STORE_CLIENTS = {"minio", "boto3"}


def modules(*packages: str) -> list[Path]:
    """The Python files of our packages, relative to the root."""
    return sorted(path.relative_to(ROOT) for package in packages for path in (ROOT / package).rglob("*.py"))


def imports(module: Path) -> Iterator[tuple[str, int]]:
    """Each absolute dotted name that `module` imports, wherever in it, with its line."""
    package = list(module.with_suffix("").parts[:-1])
    for node in ast.walk(ast.parse((ROOT / module).read_text(), str(module))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            yield origin, node.lineno
            for alias in node.names:
                yield f"{origin}.{alias.name}", node.lineno


def violations(files: list[Path], forbidden: set[str]) -> list[str]:
    """`file:line imports name` for each import of a forbidden package or what is inside it."""
    return [
        f"{module}:{line} imports {name}"
        for module in files
        for name, line in imports(module)
        if any(name == package or name.startswith(f"{package}.") for package in forbidden)
    ]


@pytest.mark.parametrize("package", LAYERS)
def test_arrows_point_down(package: str) -> None:
    assert modules(package), f"{package} has no modules: this test looks in the wrong place"
    assert violations(modules(package), {*LAYERS, "tests"} - LAYERS[package]) == []


def test_each_folder_of_modules_is_a_package() -> None:
    """What has no `__init__.py` is left out when easel is installed."""
    folders = {module.parent for module in modules(*LAYERS)}
    assert [str(folder) for folder in sorted(folders) if not (ROOT / folder / "__init__.py").exists()] == []


def test_admission_and_engine_do_not_know_each_other() -> None:
    assert violations(modules("consumer/admission"), {"consumer.engine"}) == []
    assert violations(modules("consumer/engine"), {"consumer.admission"}) == []


def test_only_the_engine_imports_torch() -> None:
    # The bare loop and the usual service are what programs without easel do.
    without_easel = ("ops/bench/bare.py", "ops/bench/usual_service.py")
    inside = ("consumer/engine", "ops/tiny_model", "ops/families", "ops/bench/gpu", *without_easel)
    outside = [module for module in modules(*LAYERS) if not module.as_posix().startswith(inside)]
    assert violations(outside, TORCH_STACK) == []
    assert violations(modules("consumer/engine"), TORCH_STACK) != [], "the engine imports no torch: names have changed"


def test_only_transport_imports_the_clients_of_kafka_and_the_store() -> None:
    # The demo's plain client shows how a program without easel publishes; the bare loops are such programs; and hostile
    # events are what no publisher of ours would write.
    without_easel = {
        Path("ops/demo/plain_client.py"),
        Path("ops/bench/bare.py"),
        Path("ops/bench/bare_http.py"),
        Path("ops/hostile/publish.py"),
    }
    outside = [
        module for module in modules("schemas", "consumer", "producer_api", "ops") if module not in without_easel
    ]
    assert violations(outside, KAFKA_CLIENTS | STORE_CLIENTS) == []
    assert violations(modules("transport"), KAFKA_CLIENTS) != [], "transport imports no Kafka: names have changed"


def test_the_engine_knows_neither_kafka_nor_the_store() -> None:
    assert violations(modules("consumer/engine"), KAFKA_CLIENTS | STORE_CLIENTS | {"transport"}) == []


def test_nobody_imports_aiohttp() -> None:
    assert violations(modules(*LAYERS, "tests"), {"aiohttp"}) == []


def test_schemas_do_no_io() -> None:
    assert violations(modules("schemas"), {"socket", "asyncio", "http", "urllib.request", "httpx", "subprocess"}) == []


def test_the_sdk_is_light() -> None:
    """Whoever publishes installs the base alone: nothing of the extras may be needed, or loaded by the way."""
    heavy = [*TORCH_STACK, *STORE_CLIENTS, "fastapi", "starlette", "uvicorn", "pydantic_settings", "typer", "rich"]
    heavy += ["structlog", "prometheus_client", "watchfiles", "httpx", "yaml", "psutil", "jgo", "consumer", "ops"]
    code = f"import sys, producer_api.sdk.client; print([name for name in {heavy!r} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert answer.stdout.strip() == "[]"


def test_the_checker_sees_what_it_is_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.test_layering.ROOT", tmp_path)
    package = tmp_path / "transport"
    package.mkdir()
    (package / "bad.py").write_text("def f():\n    from consumer import x\n    import ops.cli\nfrom . import kafka\n")
    assert violations(modules("transport"), {"consumer", "ops"}) == [
        "transport/bad.py:2 imports consumer",
        "transport/bad.py:2 imports consumer.x",
        "transport/bad.py:3 imports ops.cli",
    ]
    assert violations(modules("transport"), {"transport.kafka"}) == ["transport/bad.py:4 imports transport.kafka"]
