"""The README's picture of the service's page, taken in a real browser from the served bundle.

    python scripts/screenshot.py [--bundle models/bundle] [--out docs/images/page.png]

Needs Chromium (Debian: ``apt-get install chromium``); ``CHROMIUM`` names it where it is not on the path.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

WIDTH, HEIGHT = 1240, 860


def main() -> None:
    """Serve the bundle, open the page, take the picture."""
    parser = argparse.ArgumentParser(description="Take a picture of the service's page.")
    parser.add_argument("--bundle", type=Path, default=Path("models/bundle"))
    parser.add_argument("--out", type=Path, default=Path("docs/images/page.png"))
    parser.add_argument("--dark", action="store_true", help="in dark colours")
    parser.add_argument("--phone", action="store_true", help="as wide as a phone")
    parser.add_argument("--sample", type=int, default=2, help="which sample picture; %(default)s")
    arguments = parser.parse_args()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "service", "--bundle", str(arguments.bundle), "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        _wait(f"http://127.0.0.1:{port}/readyz", server)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=_chromium(), args=["--no-sandbox"])
            page = browser.new_page(
                viewport={"width": 390 if arguments.phone else WIDTH, "height": HEIGHT},
                device_scale_factor=2 if arguments.phone else 1.5,
                color_scheme="dark" if arguments.dark else "light",
            )
            page.goto(f"http://127.0.0.1:{port}/")
            _explained(page, arguments.sample)
            arguments.out.parent.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=arguments.out, full_page=True)
            browser.close()
    finally:
        server.terminate()
        server.wait()


def _explained(page: Page, sample: int) -> None:
    page.locator("#samples button").nth(sample - 1).click()
    page.locator(f"#samples button:nth-child({sample})[aria-pressed=true]").wait_for()
    page.locator(".verdict.true, .verdict.false").first.wait_for()
    page.locator("#stage.explained").wait_for()
    page.wait_for_timeout(800)  # the bars grow


def _wait(address: str, server: subprocess.Popen[bytes], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=2):
                return
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.1)
    sys.exit("error: the service did not become ready")


def _chromium() -> str:
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    return found or sys.exit("error: no Chromium; install it (Debian: apt-get install chromium) or set CHROMIUM")


if __name__ == "__main__":
    main()
