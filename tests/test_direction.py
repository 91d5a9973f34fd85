"""What may import what: by the contracts in pyproject.toml, and by what a process really loads."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
SRC = PROJECT / "src"
HEAVY = {"torch", "torchvision", "transformers", "great_expectations", "prefect", "dvc", "bentoml", "sklearn", "onnx"}


def modules(*rooms: str) -> list[str]:
    """The dotted names of the modules of ``rooms``, a room being a file or a folder of src/vlp."""
    found = []
    for room in rooms:
        path = SRC / "vlp" / room
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
        found += [".".join(file.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__") for file in files]
    return found


def loaded(names: list[str]) -> set[str]:
    """The top-level packages that a fresh process holds after importing ``names``."""
    code = "import importlib, json, sys\nfor name in sys.argv[1:]: importlib.import_module(name)\n"
    code += "print(json.dumps(list(sys.modules)))"
    child = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr
    return {name.split(".")[0] for name in json.loads(child.stdout)}


@pytest.mark.house
def test_rooms_import_downwards_only():
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    child = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stdout[-4000:] + child.stderr


def test_importing_the_package_loads_nothing_but_the_package():
    assert not loaded(["vlp"]) & (HEAVY | {"numpy", "pydantic", "PIL"})


def test_the_floor_and_preprocessing_load_no_training_library():
    names = modules("params", "plugins", "files", "progress", "records", "overlays", "presets", "cli", "preprocessing")
    assert not loaded(names) & (HEAVY | {"pandas", "pyarrow"})


@pytest.mark.slow
def test_data_loads_torch_only_where_batches_are_made():
    batches = {f"vlp.data.{name}" for name in ("loading", "augment", "prefetch", "questions", "slices")}
    names = [name for name in modules("data") if name not in batches]
    heavy = loaded([name for name in names if name != "vlp.data.expectations"]) & HEAVY
    assert not heavy


def test_serving_loads_only_what_serving_installs():
    declared = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {"torch", "transformers", "pandas", "pyarrow", "ruamel", "great_expectations", "sklearn", "tqdm", "jinja2"}
    assert not extras & {name.split(">")[0] for name in declared["dependencies"]}
    assert not loaded(modules("runtime", "preprocessing", "records")) & extras


@pytest.mark.slow
def test_the_service_loads_no_training_library_and_its_command_no_engine() -> None:
    assert not {"torch", "transformers", "pandas", "pyarrow", "dvc", "prefect"} & loaded(
        ["service.app", "service.model"]
    )
    assert not {"numpy", "onnxruntime", "openvino", "PIL", "tokenizers"} & loaded(["service.app", "service.__main__"])
