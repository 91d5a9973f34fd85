"""A bento of the service and a bundle, built once for the same code and bundle; and, with ``--serve``, served.

    python scripts/bento.py                       # the champion's bundle, or else models/bundle
    python scripts/bento.py --bundle DIR --serve --port 8080

The version of a bento is a hash of what is in it, so that building again finds it. With ``--serve`` the process becomes
``bentoml serve``.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUNDLE = Path("models") / "bundle"
ALSO = ("pyproject.toml", "docs/serving.md", "service/requirements.txt")
"""What ``bentoml build`` reads besides what it includes."""


def main() -> None:
    """Build, tell the tag, and serve where that is asked for."""
    parser = argparse.ArgumentParser(description="Build a bento of the service and a bundle.")
    parser.add_argument("--bundle", type=Path, metavar="DIR", help="by default the champion's, or else models/bundle")
    parser.add_argument("--serve", action="store_true", help="serve it, too")
    parser.add_argument("--host", default="127.0.0.1", help="%(default)s")
    parser.add_argument("--port", type=int, default=3000, help="%(default)s")
    arguments = parser.parse_args()
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
    bundle = (arguments.bundle or _champion()).resolve()
    subprocess.run([sys.executable, "-m", "service", "--check", "--bundle", bundle], cwd=ROOT, check=True)
    tag = _built(bundle)
    sys.stdout.write(f"{tag}\n")
    sys.stdout.flush()
    if arguments.serve:
        serve = ["-m", "bentoml", "serve", tag, "--host", arguments.host, "--port", str(arguments.port)]
        os.chdir(ROOT)
        os.execv(sys.executable, [sys.executable, *serve])


def _champion() -> Path:
    command = [sys.executable, "-m", "flows.champion"]
    found = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return Path(found.stdout.strip())


def _built(bundle: Path) -> str:
    files = _files(bundle)
    tag = f"vlp:{_version(files)}"
    bentoml = [sys.executable, "-m", "bentoml"]
    if subprocess.run([*bentoml, "get", tag], capture_output=True, check=False).returncode == 0:
        return tag
    with tempfile.TemporaryDirectory() as folder:
        for name, path in files.items():
            (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, Path(folder) / name)  # not the link that DVC may have made of it
        build = [*bentoml, "build", ".", "--version", tag.partition(":")[2]]
        subprocess.run(build, cwd=folder, stdout=sys.stderr, check=True)
    return tag


def _files(bundle: Path) -> dict[str, Path]:
    """What is in a bento, by its name there."""
    included = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["bentoml"]["build"][
        "include"
    ]
    patterns = [pattern for pattern in included if not pattern.startswith(BUNDLE.as_posix())]
    found = {path.relative_to(ROOT).as_posix(): path for pattern in patterns for path in ROOT.glob(_all(pattern))}
    found |= {name: ROOT / name for name in ALSO}
    found |= {(BUNDLE / path.relative_to(bundle)).as_posix(): path for path in bundle.rglob("*")}
    return {name: found[name] for name in sorted(found) if found[name].is_file() and "__pycache__" not in name}


def _all(pattern: str) -> str:
    """Before Python 3.13 a final ``**`` finds folders only."""
    return f"{pattern}/*" if pattern.endswith("**") else pattern


def _version(files: dict[str, Path]) -> str:
    digest = hashlib.sha256()
    for name, path in files.items():
        with path.open("rb") as file:
            digest.update(f"{name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()[:16]


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(error.returncode)
