"""When, where and again: Prefect flows over the DVC graph, gated promotion, rollback.

DVC owns what runs. A flow reads its graph and never lists a stage by hand; it works through the commands and public
interfaces of DVC, git, GTO and BentoML and the JSON that the stages write, and imports no training library.
"""

import os

# Prefect's telemetry is decided as it is imported, which every module here does.
for _switch, _off in (
    ("DO_NOT_TRACK", "1"),
    ("PREFECT_SERVER_ANALYTICS_ENABLED", "false"),
    ("DVC_NO_ANALYTICS", "1"),
    ("ITERATIVE_DO_NOT_TRACK", "1"),
    ("BENTOML_DO_NOT_TRACK", "True"),
):
    os.environ.setdefault(_switch, _off)
