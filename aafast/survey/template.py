"""The report's page: one file, no scripts, nothing fetched; every value is escaped by the caller."""

from string import Template

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2733; --soft: #5b6875; --page: #f4f6f8; --card: #fff;
  --rule: #d8dee4; --warn: #fff4e0; --warn-ink: #7a4b00; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6ebf0; --soft: #9fb0c0; --page: #12171d; --card: #1b222b; --rule: #33404d;
    --warn: #3a2c12; --warn-ink: #ffd48a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1240px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 1.5rem; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 34px 0 10px; }
p.lead, p.note { color: var(--soft); margin: 4px 0 12px; overflow-wrap: anywhere; }
.tiles { display: flex; flex-wrap: wrap; gap: 10px; margin: 18px 0; padding: 0; }
.tile { background: var(--card); border: 1px solid var(--rule); border-radius: 8px; padding: 10px 16px; }
.tile b { display: block; font-size: 1.25rem; font-weight: 600; overflow-wrap: anywhere; }
.tile span { color: var(--soft); font-size: 0.85rem; }
figure { margin: 0 0 12px; background: #fff; border: 1px solid var(--rule); border-radius: 8px;
  padding: 10px; }
img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; background: var(--card); border: 1px solid var(--rule); }
th, td { padding: 5px 14px; border-bottom: 1px solid var(--rule); text-align: left; }
th.number, td.number { text-align: right; font-variant-numeric: tabular-nums; }
ul.warnings { background: var(--warn); color: var(--warn-ink); border-radius: 8px; margin: 14px 0;
  padding: 10px 14px 10px 32px; overflow-wrap: anywhere; }
pre { overflow-x: auto; background: var(--card); border: 1px solid var(--rule); border-radius: 8px;
  padding: 12px; font-size: 12px; line-height: 1.35; }
summary { cursor: pointer; font-weight: 600; margin: 34px 0 10px; }
"""

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

PAGE = Template(f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>$title</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>$title</h1>
<p class="lead">$lead</p>
$body
</main>
</body>
</html>
""")
