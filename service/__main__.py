"""``python -m service --bundle DIR --host H --port P``: ``bentoml serve`` on a bundle, checked first.

The process goes on as ``bentoml serve`` itself: a signal to it reaches the server, with nothing in between, and what
the checks have imported is not imported twice.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from service import settings
from vlp.runtime import bundle as bundles

SERVICE = "service.app:VisionLanguage"


def main(argv: Sequence[str] | None = None) -> None:
    """Check what is to be served, then be ``bentoml serve``.

    Raises:
        SystemExit: with one line on standard error, if the bundle or a setting cannot be; or the server's own.
    """
    arguments = _parser().parse_args(argv)
    if arguments.bundle is not None:
        os.environ[settings.variable("bundle")] = str(arguments.bundle.resolve())
    try:
        bundles.read(settings.read().bundle)
    except (settings.SettingsError, bundles.BundleError) as error:
        sys.exit(f"error: {error}")
    if arguments.check:
        return
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
    roots = [str(settings.ROOT), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, roots))
    (bentoml,) = metadata.entry_points(group="console_scripts", name="bentoml")
    bentoml.load()(["serve", SERVICE, "--host", arguments.host, "--port", str(arguments.port)], prog_name="bentoml")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m service",
        description="Serve an exported bundle. Limits and the API key come from environment variables: "
        + ", ".join(settings.variable(name) for name in settings.Settings.model_fields),
    )
    parser.add_argument("--bundle", metavar="DIR", type=Path, help="what the export stage wrote; models/bundle")
    parser.add_argument("--check", action="store_true", help="only check the bundle and the settings")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on; %(default)s")
    parser.add_argument("--port", type=int, default=3000, help="%(default)s")
    return parser


if __name__ == "__main__":
    main()
