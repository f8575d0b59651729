"""The style of the report's page: light and dark as the reader's system asks, one column on a phone."""

COLOURS = 8
"""Numbered colours that a plot can use."""

PALETTE = """
:root { color-scheme: light dark; --back: #fcfcfa; --card: #ffffff; --text: #1c2024; --dim: #5b646d; --line: #dfe3e6;
  --c0: #c2410c; --c1: #1d4ed8; --c2: #15803d; --c3: #7e22ce; --c4: #0e7490; --c5: #a16207; --c6: #be185d; --c7: #4b5563;
  --good: #15803d; --bad: #b91c1c; --open: #6b7280; --mine: #fff3ea; }
@media (prefers-color-scheme: dark) { :root { --back: #15181b; --card: #1d2125; --text: #e6e9ec; --dim: #9aa4ad; --line: #343a40;
  --c0: #fb923c; --c1: #7aa2ff; --c2: #5fd38a; --c3: #c79bff; --c4: #4fd0e3; --c5: #e7c04f; --c6: #ff8ac0; --c7: #aeb6bf;
  --good: #5fd38a; --bad: #ff8a80; --open: #9aa4ad; --mine: #35281c; } }
"""

DRAWINGS = """
svg text { fill: var(--text); font-size: 12px; font-family: inherit; }
svg .tick { fill: var(--dim); font-size: 11px; }
svg .grid { stroke: var(--line); fill: none; }
svg .zero { stroke: var(--dim); fill: none; }
svg .mark { stroke: var(--dim); stroke-dasharray: 4 4; fill: none; }
svg .line path { fill: none; stroke: currentColor; stroke-width: 1.6; stroke-linejoin: round; }
svg .line.c0 path { stroke-width: 2.8; }
svg circle, svg .bar { fill: currentColor; }
svg .sure, svg .against, svg .open { stroke: currentColor; stroke-width: 2.4; }
.c0 { color: var(--c0); } .c1 { color: var(--c1); } .c2 { color: var(--c2); } .c3 { color: var(--c3); }
.c4 { color: var(--c4); } .c5 { color: var(--c5); } .c6 { color: var(--c6); } .c7 { color: var(--c7); }
"""
"""Of plots, which stand on a page or by themselves."""

STYLE = (
    PALETTE
    + DRAWINGS
    + """
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--text); font: 16px/1.55 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 40px 0 10px; }
h3 { font-size: 1rem; margin: 0 0 2px; }
p { margin: 0 0 10px; max-width: 76ch; }
p.dim { max-width: none; }
.dim, figcaption { color: var(--dim); font-size: .9rem; }
.warn { border-left: 4px solid var(--bad); padding-left: 12px; }
.verdict { background: var(--card); border: 1px solid var(--line); border-left: 5px solid var(--c0); border-radius: 8px; padding: 16px 20px 8px; }
.verdict p:first-child { font-size: 1.08rem; font-weight: 600; }
.tiles { display: flex; flex-wrap: wrap; gap: 4px 28px; padding: 0; margin: 12px 0 22px; list-style: none; }
.tiles b { display: block; font-size: 1.15rem; font-variant-numeric: tabular-nums; }
.tiles li { color: var(--dim); font-size: .9rem; }
.tiles b { color: var(--text); }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); gap: 18px; }
figure { margin: 0; background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 14px 16px; }
figure svg { width: 100%; height: auto; display: block; max-width: 620px; }
figcaption { margin-bottom: 8px; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 16px; margin: 8px 0 0; padding: 0; list-style: none; font-size: .9rem; }
.legend i { display: inline-block; width: 16px; height: 4px; border-radius: 2px; margin-right: 6px; vertical-align: middle; background: currentColor; }
.sure { color: var(--good); } .against { color: var(--bad); } .open { color: var(--open); }
.legend span { color: var(--text); }
.wide { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .93rem; }
th, td { padding: 6px 12px; text-align: right; white-space: nowrap; border-top: 1px solid var(--line); }
thead th { border-top: 0; color: var(--dim); font-weight: 600; vertical-align: bottom; white-space: normal; line-height: 1.2; }
th:first-child, td:first-child { text-align: left; } tr > th:first-child { width: 40%; }
tbody th { font-weight: 600; }
tbody th small { display: block; color: var(--dim); font-weight: 400; white-space: normal; min-width: 16em; line-height: 1.3; }
td small { display: block; color: var(--dim); }
.mine { background: var(--mine); }
.part th { color: var(--dim); font-weight: 600; text-align: left; padding-top: 14px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 18px; margin: 0; }
dt { color: var(--dim); } dd { margin: 0; overflow-wrap: anywhere; }
details { margin-top: 12px; } summary { cursor: pointer; color: var(--dim); }
code { font: .9em ui-monospace, "DejaVu Sans Mono", monospace; }
@media (max-width: 600px) { main { padding: 18px 12px 40px; } figure { padding: 12px 8px; } figcaption, h3 { padding: 0 4px; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: 8px; } th, td { padding: 6px 8px; }
  tbody th small { display: none; } tr > th:first-child { width: auto; } h1 { font-size: 1.35rem; } }
"""
)
