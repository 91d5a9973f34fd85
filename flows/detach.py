"""Starts a command that outlives the flow: in a session of its own, no child of anybody here; prints its process id.

``python detach.py LOG COMMAND…``; run as a file of its own, by ``flows.processes``.
"""

from __future__ import annotations

import subprocess
import sys

if __name__ == "__main__":
    with open(sys.argv[1], "ab") as log:
        started = subprocess.Popen(
            sys.argv[2:], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    sys.stdout.write(f"{started.pid}\n")
    sys.stdout.flush()
    started.returncode = 0  # it is not waited for
