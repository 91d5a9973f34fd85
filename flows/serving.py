"""The versions on this machine: their bundles, their servers, and which of them the front passes requests to.

::

    runs/serving/
      front.json                 the front's process
      target.json                version and address that requests go to; the front reads it
      servers/<version>.json     a server's process
      versions/<version>/        bundle (sealed), samples.jsonl and its pictures: all that a rollback needs
      logs/
"""

from __future__ import annotations

import fcntl
import json
import logging
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import httpx

from flows import processes
from flows.front import STATUS, TARGET
from flows.processes import Process
from flows.settings import Serving
from flows.worktree import worktree
from vlp.export import bundle as bundles
from vlp.files import atomic

FOLDER = Path("runs") / "serving"
BUNDLE, SAMPLES = Path("models") / "bundle", Path("reports") / "samples"
PACKAGED = "packaged"
"""In the folder of a version: the building of its bento has begun."""

logger = logging.getLogger(__name__)


class BusyError(RuntimeError):
    """Somebody else is changing what is served."""


class DamagedError(RuntimeError):
    """The folder of a version does not say what it was made of."""


class NoResultsError(RuntimeError):
    """A commit's bundle or samples are not in DVC's cache."""


@dataclass(frozen=True, slots=True)
class Site:
    """Everything that is served from one project."""

    project: Path
    settings: Serving

    @property
    def folder(self) -> Path:
        """Where its state is."""
        return self.project / FOLDER

    @contextmanager
    def locked(self, wait_s: float = 0.0) -> Iterator[None]:
        """One at a time may change what is served; the lock goes with the process that holds it.

        Raises:
            BusyError: somebody else does, and went on for ``wait_s``.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + wait_s
        with (self.folder / "lock").open("w") as lock:
            if not (mine := _take(lock)) and wait_s:
                logger.warning("a promotion or rollback is under way: waiting up to %g s for its end", wait_s)
            while not mine:
                if time.monotonic() >= deadline:
                    raise BusyError(f"{self.folder}: another promotion or rollback is under way; try again")
                time.sleep(processes.POLL_S)
                mine = _take(lock)
            yield

    def unpack(self, version: str, commit: str) -> Path:
        """The folder of ``version``, made from ``commit`` where it is not there yet, or is damaged.

        A name alone does not tell: a version whose promotion failed is taken back, and the next commit gets its name.

        Raises:
            NoResultsError: the results of ``commit`` are not in DVC's cache.
        """
        target = self.folder / "versions" / version
        with suppress(DamagedError):
            if target.exists() and self.lineage(version)["commit"] == commit:
                return target
        with worktree(self.project, commit) as tree, atomic(target, folder=True) as partial:
            for needed in (BUNDLE, SAMPLES):
                if not (tree.folder / needed).exists():
                    raise NoResultsError(
                        f"{commit[:12]}: DVC's cache has no {needed} of it: dvc pull, or run its stages"
                    )
            bundles.seal(tree.folder / BUNDLE, partial / "bundle", tree.folder)
            shutil.copytree(tree.folder / SAMPLES, partial, dirs_exist_ok=True)
            if (target / PACKAGED).exists():  # what was built of the name is still to be taken back
                (partial / PACKAGED).touch()
        return target

    def lineage(self, version: str) -> dict[str, str]:
        """What the sealed bundle of ``version`` was made of: its ``commit``, its ``dvc_lock`` and more.

        Raises:
            DamagedError: the file that says so is missing or broken.
        """
        path = self.folder / "versions" / version / "bundle" / "lineage.json"
        try:
            found: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DamagedError(f"{path}: cannot be read: {error}") from None
        if not isinstance(found, dict) or not {"commit", "dvc_lock"} <= found.keys():
            raise DamagedError(f"{path}: names no commit and no dvc_lock")
        return found

    def start(self, version: str) -> Process:
        """Serve ``version`` on a port of its own; the server that already does, where there is one.

        Raises:
            processes.StartError: it does not come up.
        """
        record = self.folder / "servers" / f"{version}.json"
        if running := processes.read(record):
            if processes.answers(running.url + "/readyz"):
                return running
            running.stop()
        port = processes.free_port()
        bundle = self.folder / "versions" / version / "bundle"
        command = [part.format(bundle=bundle, port=port) for part in self.settings.serve]
        command[0] = sys.executable if command[0] == "python" else command[0]
        log = self.folder / "logs" / f"{version}.log"
        environment = processes.server_environment()
        server = processes.start(command, self.project, log, f"http://127.0.0.1:{port}", environment)
        server.write(record)
        try:
            processes.wait_until_ready(server, "/readyz", self.settings.ready_s)
        except BaseException:
            self.stop(version)
            raise
        return server

    def stop(self, version: str) -> None:
        """End the server of ``version``, if there is one."""
        record = self.folder / "servers" / f"{version}.json"
        if server := processes.read(record):
            server.stop()
        record.unlink(missing_ok=True)

    def target(self) -> str | None:
        """The version that requests go to."""
        try:
            return str(json.loads((self.folder / TARGET).read_text(encoding="utf-8"))["version"])
        except FileNotFoundError:
            return None

    def switch(self, version: str | None) -> None:
        """Send the next request to ``version``'s server, which is running; None: to nobody."""
        if version is None:
            (self.folder / TARGET).unlink(missing_ok=True)
            return
        server = processes.read(self.folder / "servers" / f"{version}.json")
        assert server is not None, f"{version} is not being served"
        processes.write_json(self.folder / TARGET, {"version": version, "url": server.url})

    def servers(self) -> dict[str, Process]:
        """The servers that run, by version."""
        found = {path.stem: processes.read(path) for path in sorted((self.folder / "servers").glob("*.json"))}
        return {version: server for version, server in found.items() if server is not None}

    def front(self) -> Process:
        """The front, started if it is not running."""
        record = self.folder / "front.json"
        if running := processes.read(record):
            return running
        host, port = self.settings.host, self.settings.port or processes.free_port()
        command = [sys.executable, "-m", "flows.front", str(self.folder), "--host", host, "--port", str(port)]
        url = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"
        processes.refuse_taken(url, "serving.port in flows/config.yaml")
        log = self.folder / "logs" / "front.log"
        front = processes.start(
            command, Path(__file__).resolve().parent.parent, log, url, processes.server_environment()
        )
        front.write(record)
        processes.wait_until_ready(front, STATUS, self.settings.ready_s)
        return front

    def counts(self, version: str) -> tuple[int, int, int]:
        """Requests to ``version`` that the front has answered, failed (5xx) and has under way."""
        found = httpx.get(self.front().url + STATUS, timeout=10, trust_env=False).json()
        return tuple(int(found[name].get(version, 0)) for name in ("answered", "failed", "in_flight"))  # type: ignore[return-value]

    def surplus(self, keep: set[str]) -> list[str]:
        """The oldest versions beyond ``settings.keep``, none of ``keep``."""
        folders = sorted((self.folder / "versions").glob("*"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
        kept = [path for path in folders if path.name in keep]
        others = [path for path in folders if path.name not in keep]
        return [path.name for path in others[max(0, self.settings.keep - len(kept)) :]]

    def drop(self, version: str) -> None:
        """Remove the folder of ``version``."""
        shutil.rmtree(self.folder / "versions" / version)


def _take(lock: IO[str]) -> bool:
    """Take the lock, if nobody holds it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
