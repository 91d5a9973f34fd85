"""What every benchmark shares: the machine, the commit, and where results go."""

from __future__ import annotations

import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from vlp.runtime.threads import usable_processors

# As on a machine of users: where it is set, each process that a benchmark starts compiles all its imports anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def machine() -> dict[str, Any]:
    """Processor, cores that may be used, memory, Python and the libraries that count."""
    names = [line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    flags = next((line for line in _lines("/proc/cpuinfo") if line.startswith("flags")), "")
    memory = next((line for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), "0 0")
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": usable_processors(),
        "bf16": "avx512_bf16" in flags or "amx_bf16" in flags,
        "memory_gb": round(int(memory.split()[1]) / 1e6, 1),
        "python": platform.python_version(),
        "libraries": {
            name: metadata.version(name)
            for name in ("torch", "transformers", "onnxruntime", "openvino", "bentoml", "numpy")
            if _installed(name)
        },
    }


def _installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def write(name: str, found: dict[str, Any]) -> None:
    """Write ``benchmarks/results/<name>.json``, and print its ratios."""
    whole = {"machine": machine(), **made(), **found}
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({key: value for key, value in found.items() if key not in ("samples", "rounds")}, indent=1))


def add(name: str, key: str, found: dict[str, Any]) -> None:
    """Write one part of ``benchmarks/results/<name>.json``, which another run has made; and print it."""
    path = RESULTS / f"{name}.json"
    whole = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"machine": machine()}
    path.write_text(json.dumps({**whole, key: {**made(), **found}}, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


def made() -> dict[str, Any]:
    """By what command, at what commit, and when."""
    # Where the files were copied to without their history, whoever copied them says of which commit they are.
    asked = ["git", "rev-parse", "HEAD"]
    commit = os.environ.get("GIT_COMMIT") or subprocess.check_output(asked, cwd=ROOT, text=True).strip()
    script = os.path.relpath(sys.argv[0], ROOT)
    # A path of this machine is nobody else's: its last part tells enough.
    command = ["python", script, *(Path(part).name if Path(part).is_absolute() else part for part in sys.argv[1:])]
    return {
        "command": " ".join(command),
        "commit": commit,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """Median of the rounds' ratios: how many times less ``fast`` took."""
    return round(median(one / other for one, other in zip(slow, fast, strict=True)), 2)


def percentile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@contextmanager
def served(command: list[str], **settings: str) -> Iterator[tuple[str, int]]:
    """Run a server on a free port until the block ends: its address and its process, once it is ready."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as home:
        environment = os.environ | {"BENTOML_HOME": home, "BENTOML_DO_NOT_TRACK": "True"} | settings
        server = subprocess.Popen(
            [*command, "--port", str(port)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(f"{url}/readyz", server)
            yield url, server.pid
        finally:
            server.terminate()
            server.wait()


def memory_mb(pid: int) -> float:
    """Resident megabytes of the largest process below ``pid``: the worker."""
    return max(child.memory_info().rss for child in psutil.Process(pid).children(recursive=True)) / 1e6


def _wait(address: str, server: subprocess.Popen[bytes], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=1):
                return
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.01)
    raise TimeoutError(f"{address} is not ready")


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines() if Path(path).exists() else []
