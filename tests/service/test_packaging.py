"""The bento, the manifests and the compose file."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from kubernetes_validate import validate
from packaging.requirements import Requirement
from ruamel.yaml import YAML

from support.bundles import png
from support.served import ROOT, free_port, running

DEPLOY = ROOT / "deploy"
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")


def documents(path: Path) -> list[dict]:
    return list(YAML(typ="safe").load_all(path.read_text(encoding="utf-8")))


MANIFESTS = [document for path in sorted((DEPLOY / "kubernetes").glob("*.yaml")) for document in documents(path)]
(DEPLOYMENT,) = (one for one in MANIFESTS if one["kind"] == "Deployment")


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda one: one["kind"])
def test_a_manifest_is_what_kubernetes_takes(manifest: dict) -> None:
    validate(manifest, "1.33", strict=True)


def test_a_pod_gets_no_variables_that_look_like_settings() -> None:
    assert DEPLOYMENT["spec"]["template"]["spec"]["enableServiceLinks"] is False


@pytest.mark.parametrize(
    ("path", "schema"),
    [
        (DEPLOY / "compose.yaml", "compose-spec"),
        *((path, "github-workflows") for path in sorted((ROOT / ".github" / "workflows").glob("*.yml"))),
    ],
    ids=lambda one: getattr(one, "name", one),
)
def test_a_file_for_others_is_what_they_take(path: Path, schema: str, tmp_path: Path) -> None:
    """By the published schemas, as check-jsonschema brings them along."""
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}"]
    child = subprocess.run([*check, str(path)], capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stdout
    wrong = tmp_path / path.name
    wrong.write_text(path.read_text(encoding="utf-8") + "\nsurely-no-key: 1\n", encoding="utf-8")
    assert subprocess.run([*check, str(wrong)], capture_output=True, check=False).returncode == 1


def test_manifests_refer_to_each_other() -> None:
    pod = DEPLOYMENT["spec"]["template"]
    by_kind = {manifest["kind"]: manifest["spec"] for manifest in MANIFESTS}
    labels = pod["metadata"]["labels"].items()
    assert by_kind["Service"]["selector"].items() <= labels
    assert by_kind["PodDisruptionBudget"]["selector"]["matchLabels"].items() <= labels
    assert by_kind["HorizontalPodAutoscaler"]["scaleTargetRef"]["name"] == DEPLOYMENT["metadata"]["name"]
    (container,) = pod["spec"]["containers"]
    ports = {port["name"] for port in container["ports"]}
    assert {probe["httpGet"]["port"] for name, probe in container.items() if name.endswith("Probe")} <= ports
    assert {port["targetPort"] for port in by_kind["Service"]["ports"]} <= ports


def test_variables_of_deployments_are_settings() -> None:
    from service.settings import Settings, variable

    known = {variable(name) for name in Settings.model_fields}
    (container,) = DEPLOYMENT["spec"]["template"]["spec"]["containers"]
    (compose,) = documents(DEPLOY / "compose.yaml")
    set_here = {one["name"] for one in container["env"]} | compose["services"]["vlp"]["environment"].keys()
    assert {name for name in set_here if name.startswith("VLP_")} <= known
    assert compose["services"]["vlp"]["command"] == container["args"]


def test_what_a_bento_installs_is_pinned_as_the_lock_pins_it() -> None:
    pins = (ROOT / "service" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    exact = [line.partition(" ")[0] for line in pins]
    assert [pin for pin in exact if not re.search(rf"^{re.escape(pin)} ", LOCK, re.MULTILINE)] == []
    names = {Requirement(line).name for line in pins}
    assert {"bentoml", "onnxruntime", "tokenizers", "pillow", "numpy"} <= names
    assert not names & {"torch", "transformers", "dvc", "prefect", "pandas", "pyarrow", "scikit-learn", "onnx"}


@pytest.fixture(scope="module")
def bento(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A bento of this code and the toy bundle: its tag, and BentoML's home. What it was built from is gone."""
    folder = tmp_path_factory.mktemp("bento")
    project = folder / "project"
    for name in ("service", "src"):
        shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "docs/serving.md"):
        (project / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, project / name)
    shutil.copytree(bundle, project / "models" / "bundle")
    command = [sys.executable, "-m", "bentoml", "build", ".", "--output", "tag"]
    environment = clean(folder / "home") | {"PYTHONPATH": str(project / "src")}
    built = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    shutil.rmtree(project)
    return built.stdout.strip().removeprefix("__tag__:"), folder / "home"


def clean(home: Path) -> dict[str, str]:
    """This process's environment without this project's settings and paths."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("VLP_", "PYTHON"))}
    return kept | {"BENTOML_HOME": str(home)}


@pytest.mark.slow
def test_a_bento_holds_what_serves_and_nothing_of_training(bento: tuple[str, Path], bundle: Path) -> None:
    (source,) = (bento[1] / "bentos" / "vlp").glob("*/src")
    assert {path.stem for path in (source / "vlp").iterdir()} == {
        *("__init__", "files", "params", "plugins", "preprocessing", "records", "runtime")
    }
    for path in bundle.rglob("*.*"):
        assert (source / "models" / "bundle" / path.relative_to(bundle)).read_bytes() == path.read_bytes()


@pytest.mark.slow
def test_a_bento_serves_from_an_environment_of_its_own_requirements(bento: tuple[str, Path], tmp_path: Path) -> None:
    tag, home = bento
    uv = Path(sys.executable).with_name("uv")
    (requirements,) = (home / "bentos" / "vlp").glob("*/env/python/requirements.txt")
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, tmp_path / "venv"], check=True)
    install = [uv, "pip", "install", "-q", "--offline", "--python", python, "-r", requirements]
    if (child := subprocess.run(install, capture_output=True, text=True, check=False)).returncode:
        pytest.skip(f"the packages are not in uv's cache, which `make setup` fills: {child.stderr[-300:]}")
    size = sum(path.stat().st_size for path in (tmp_path / "venv" / "lib").rglob("*") if not path.is_symlink())
    assert size < 700e6
    port = free_port()
    serve = [str(python), "-m", "bentoml", "serve", tag, "--host", "127.0.0.1", "--port", str(port)]
    with running(serve, tmp_path, clean(home), port) as url:
        answer = httpx.post(f"{url}/match", files={"image": png("red")}, data={"texts": "a red square"}, timeout=30)
        assert answer.json()["answers"][0]["decision"] == "true"
        assert httpx.get(url).status_code == 200
