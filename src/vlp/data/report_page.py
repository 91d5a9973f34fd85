"""The page of the validation report, as a Jinja template: one file, no script, nothing fetched."""

from __future__ import annotations

PAGE = """\
{% macro figures(examples) %}
<div class="examples">
{% for each in examples %}
<figure>
{% if each.picture %}
<img src="{{ each.picture }}" width="64" height="64" alt="{{ each.record }}">
{% else %}
<span class="nothing">no picture</span>
{% endif %}
<figcaption><bdi><strong>{{ each.record }}</strong></bdi><bdi class="soft">{{ each.field }}</bdi>
{% if each.text %}<bdi>“{{ each.text }}”</bdi>{% endif %}
{% if each.detail %}<bdi class="soft">{{ each.detail }}</bdi>{% endif %}</figcaption>
</figure>
{% endfor %}
</div>
{% endmacro %}
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>Validation: {{ verdict.title }}</title>
<style>
:root { color-scheme: light dark; --back: #f6f7f9; --card: #ffffff; --ink: #1b1f24; --soft: #57606a; --line: #d8dee4;
  --blue: #2f6fde; --good: #1a7f37; --warn: #8a5a00; --bad: #b42318; }
@media (prefers-color-scheme: dark) { :root { --back: #0f1317; --card: #171c22; --ink: #e6edf3; --soft: #9aa7b4;
  --line: #2d353e; --blue: #6ea2ff; --good: #4ac26b; --warn: #e0a63a; --bad: #ff7b72; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 72rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { margin: 0 0 .25rem; font-size: 1.75rem; }
h2 { margin: 2.5rem 0 .75rem; font-size: 1.25rem; }
h3 { margin: 0; font-size: 1rem; }
p { margin: .25rem 0; }
.soft { color: var(--soft); }
.good { color: var(--good); } .warn { color: var(--warn); } .bad { color: var(--bad); }
.verdict { font-size: 1.1rem; font-weight: 600; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .75rem; margin: 1.25rem 0 0; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .9rem 1rem; }
.tiles dt { color: var(--soft); font-size: .875rem; }
.tiles dd { margin: 0; font-size: 1.5rem; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .45rem .7rem; border-bottom: 1px solid var(--line); }
th { font-weight: 600; font-size: .875rem; color: var(--soft); }
tbody tr:last-child > * { border-bottom: 0; }
td.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
.reasons { display: grid; gap: .75rem; }
.head { display: flex; flex-wrap: wrap; gap: .25rem 1rem; align-items: baseline; }
.examples { display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); gap: .75rem;
  margin-top: .75rem; }
figure { margin: 0; display: flex; gap: .7rem; min-width: 0; }
figure img, .nothing { flex: none; width: 64px; height: 64px; border-radius: .3rem; background: var(--line); }
.nothing { display: grid; place-items: center; color: var(--soft); font-size: .75rem; text-align: center; }
figcaption { min-width: 0; font-size: .8125rem; overflow-wrap: anywhere; }
figcaption bdi { display: block; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(19rem, 1fr)); gap: .75rem; }
svg { display: block; width: 100%; height: auto; margin-top: .5rem; color: var(--blue); fill: currentColor; }
svg line { stroke: var(--line); }
.axis { display: flex; justify-content: space-between; color: var(--soft); font-size: .8125rem; }
.shares { margin-top: .5rem; font-size: .875rem; }
.shares th, .shares td { padding: .15rem .4rem; border: 0; }
.shares th { color: var(--ink); font-weight: 400; max-width: 9rem; overflow-wrap: anywhere; }
.shares .bar { width: 45%; }
.bar i { display: block; height: .7rem; margin-top: .35rem; border-radius: .2rem; background: var(--blue);
  min-width: 1px; }
</style>
</head>
<body>
<main>
<h1>Validation</h1>
<p class="verdict {{ verdict.tone }}">{{ verdict.title }}</p>
<p class="soft">{{ verdict.means }}</p>
<dl class="tiles">
{% for name, value in tiles %}
<div class="card"><dt>{{ name }}</dt><dd>{{ value }}</dd></div>
{% endfor %}
</dl>

<h2 id="expectations">Expectations</h2>
{% if outcomes %}
<div class="card scroll" role="region" aria-labelledby="expectations" tabindex="0">
<table>
<thead><tr><th scope="col">Result</th><th scope="col">Severity</th><th scope="col">Expectation</th>
<th scope="col">Threshold</th><th scope="col">Observed</th><th scope="col">For example</th></tr></thead>
<tbody>
{% for each in outcomes %}
<tr><td class="{{ 'good' if each.met else 'bad' if each.severity == 'critical' else 'warn' }}">
{{- '✓ met' if each.met else '✗ failed' }}</td><td>{{ each.severity }}</td>
<td><strong>{{ each.name }}</strong><br><span class="soft">{{ each.says | visible }}</span></td>
<td class="number">{{ each.threshold }}</td><td class="number">{{ each.observed | visible }}</td>
<td>{% for id in each.examples %}<bdi>{{ id | visible }}</bdi>{{ ', ' if not loop.last }}{% endfor %}</td></tr>
{% endfor %}
</tbody>
</table>
</div>
{% else %}
<p>Nothing was expected: the mode is off.</p>
{% endif %}

{% for action in actions %}
<h2 id="{{ action.name }}">{{ action.name | capitalize }} <span class="soft">— {{ action.means }}</span></h2>
<div class="reasons">
{% for reason in action.reasons %}
<section class="card">
<div class="head"><h3>{{ reason.name }}</h3><span>{{ reason.count }}</span>
<span class="soft">{{ reason.share }} of the records</span></div>
{{ figures(reason.examples) }}
</section>
{% endfor %}
</div>
{% else %}
<h2>Findings</h2>
<p>None: every record is as it should be.</p>
{% endfor %}

{% if poorest %}
<h2 id="poorest">The poorest that were kept</h2>
<div class="reasons">
{% for each in poorest %}
<section class="card">
<h3>{{ each.name }}</h3>
{{ figures(each.examples) }}
</section>
{% endfor %}
</div>
{% endif %}

{% if moved %}
<h2 id="drift">Distance from the accepted data set</h2>
<section class="card">
<table class="shares"><tbody>
{% for row in moved %}
<tr><th scope="row"><bdi>{{ row.name }}</bdi></th><td class="bar"><i style="width: {{ row.width }}%"></i></td>
<td class="number">{{ row.count }}</td></tr>
{% endfor %}
</tbody></table>
<p class="soft">0: drawn alike; 1: nothing in common. The accepted one is in review/accepted.json.</p>
</section>
{% endif %}

<h2 id="distributions">Distributions</h2>
<div class="plots">
{% for plot in histograms %}
<section class="card">
<h3>{{ plot.title }}</h3>
{% if plot.bars %}
<svg viewBox="0 0 320 100" fill="currentColor" role="img" aria-label="{{ plot.summary }}">
{% for bar in plot.bars %}
<rect x="{{ bar.x }}" y="{{ bar.y }}" width="{{ bar.width }}" height="{{ bar.height }}">
<title>{{ bar.label }}</title></rect>
{% endfor %}
<line x1="0" y1="99.5" x2="320" y2="99.5"></line>
</svg>
<div class="axis"><span>{{ plot.low }}</span><span>{{ plot.high }}</span></div>
{% endif %}
<p class="soft">{{ plot.summary }}</p>
</section>
{% endfor %}
{% for list in shares %}
<section class="card">
<h3>{{ list.title }}</h3>
<table class="shares"><tbody>
{% for row in list.rows %}
<tr><th scope="row"><bdi>{{ row.name }}</bdi></th><td class="bar"><i style="width: {{ row.width }}%"></i></td>
<td class="number">{{ row.count }}</td></tr>
{% endfor %}
</tbody></table>
{% if list.others %}<p class="soft">and {{ list.others }} more</p>{% endif %}
</section>
{% endfor %}
</div>
</main>
</body>
</html>
"""
