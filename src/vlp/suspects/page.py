"""The worst pairs with their pictures: one HTML file without scripts, which opens anywhere."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from PIL import Image

from vlp.data.loading import Prepared
from vlp.data.validated import visible
from vlp.files import atomic
from vlp.suspects.ranking import Suspect

THUMBNAIL = 96

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{{ rows | length }} pairs that may not belong together</title>
<style>
:root { color-scheme: light dark; }
body { margin: 0 auto; max-width: 72rem; padding: 2rem 1.25rem; font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; }
ol { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 1rem; padding: 0;
  list-style: none; }
li { display: flex; gap: .8rem; border: 1px solid #8886; border-radius: .6rem; padding: .8rem; min-width: 0; }
img { flex: none; width: 96px; height: 96px; border-radius: .3rem; }
div { min-width: 0; overflow-wrap: anywhere; }
bdi { display: block; }
.soft { opacity: .7; font-size: .8125rem; }
</style>
</head>
<body>
<h1>{{ rows | length }} pairs that may not belong together</h1>
<p>The least likely first. The score is the matching head's: below 0, more likely false than true.</p>
<ol>
{% for row in rows %}
<li><img src="{{ row.picture }}" width="96" height="96" alt="{{ row.record }}">
<div><bdi>“{{ row.caption }}”</bdi><bdi class="soft">{{ row.score }} · {{ row.record }} · {{ row.field }} ·
{{ row.split }}</bdi></div></li>
{% endfor %}
</ol>
</body>
</html>
"""


def write(path: Path, prepared: Prepared, suspects: Sequence[Suspect]) -> None:
    """Write the page of ``suspects`` to ``path``, atomically.

    Args:
        path: of the HTML file.
        prepared: what they were found in.
        suspects: in the order in which they are shown.
    """
    rows = [
        {
            "picture": _picture(prepared, each),
            "caption": visible(each.caption),
            "record": visible(each.record),
            "field": each.field,
            "split": each.split,
            "score": f"{each.score:.2f}",
        }
        for each in suspects
    ]
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    with atomic(path) as partial:
        partial.write_text(environment.from_string(_PAGE).render(rows=rows), encoding="utf-8")


def _picture(prepared: Prepared, suspect: Suspect) -> str:
    """The prepared picture as a data URI."""
    pixels = prepared.split(suspect.split).images([suspect.row])[0].numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((THUMBNAIL, THUMBNAIL)).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
