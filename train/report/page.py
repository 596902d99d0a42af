"""Convert a report to a single HTML page that needs no other file and no network."""

import base64
import html
import string
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token

_ALT_TEXTS = {
    "curves": "test error, training loss and share of steps below the mean, per epoch",
    "differences": "mean difference of the final test error from the baseline, with 95 % intervals",
    "steps": "loss and momentum of each step in the first, the middle and the last epoch",
}

# Table cells with more characters than this are broken into lines.
_LONGEST_LINE = 40


def render(markdown: str, figures: Mapping[str, bytes], title: str) -> str:
    """Convert a report in Markdown to a page that contains its figures.

    Args:
      markdown: The report.
      figures: Maps a file name in the Markdown to the PNG file.
      title: Title of the browser window.

    Returns:
      The page. Markup in names is escaped. A picture that is not in `figures` is replaced by its description, so that
      the page loads no other file.
    """
    # The report has no links and no HTML, but the name of a folder could look like them.
    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable(["link", "autolink"])
    # Each rule replaces the renderer's method for one kind of token.
    parser.add_render_rule("table_open", _open_table)
    parser.add_render_rule("table_close", _close_table)
    parser.add_render_rule("td_open", _open_cell)
    parser.add_render_rule("image", _show_figure)
    body = parser.render(markdown, {"figures": figures})
    return _PAGE.substitute(title=html.escape(title), style=_STYLE, body=body)


def alt_text(figure: Path) -> str:
    """Describe a figure of a report, for readers who cannot see it."""
    subject, _, kind = figure.stem.rpartition("-")
    return f"{subject}: {_ALT_TEXTS[kind]}" if kind in _ALT_TEXTS else figure.stem


def _open_table(renderer: RendererHTML, tokens: Sequence[Token], index: int, *_: Any) -> str:
    # A scrolling region must be reachable by keyboard, and therefore needs a name.
    heading = next(
        (tokens[before + 1].content for before in range(index - 1, -1, -1) if tokens[before].type == "heading_open"),
        "table",
    )
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{html.escape(heading)}">\n<table>\n'


def _close_table(*_: Any) -> str:
    return "</table>\n</div>\n"


def _open_cell(renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
    if len(tokens[index + 1].content) > _LONGEST_LINE:
        tokens[index].attrSet("class", "long")
    return str(renderer.renderToken(tokens, index, options, env))


def _show_figure(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: Any, env: Mapping[str, Any]
) -> str:
    token = tokens[index]
    png = env["figures"].get(urllib.parse.unquote(str(token.attrs["src"])))
    if png is None:
        return html.escape(token.content)
    data = base64.b64encode(png).decode()
    return f'<img alt="{html.escape(token.content)}" src="data:image/png;base64,{data}">'


_STYLE = """
:root { color-scheme: light dark; --text: #1a1a1a; --page: #ffffff; --quiet: #5c5c5c; --line: #d9d9d9;
  --raised: #f5f7f9; --accent: #0072b2; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6e6e6; --page: #16181b; --quiet: #a6a6a6; --line: #3a3e44; --raised: #1f2328; --accent: #56b4e9; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text); font: 1rem/1.55 system-ui, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; overflow-wrap: anywhere; }
h1, h2, h3 { line-height: 1.25; }
h2 { margin-top: 3rem; padding-top: 1rem; border-top: 1px solid var(--line); }
h3 { margin: 2rem 0 0.5rem; font-size: 1.05rem; }
h3 ~ p { color: var(--quiet); font-size: 0.9rem; }
blockquote { margin: 1rem 0; padding: 0.75rem 1rem; border-left: 4px solid var(--accent); background: var(--raised); }
blockquote p { margin: 0; }
code { font: 0.85em ui-monospace, monospace; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.9rem; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td { padding: 0.35rem 0.75rem; border-bottom: 1px solid var(--line); vertical-align: bottom; }
td { white-space: nowrap; vertical-align: top; }
td.long { white-space: normal; min-width: 30rem; text-align: left !important; }
img { display: block; max-width: 100%; height: auto; margin: 1.5rem 0; background: #ffffff; border-radius: 4px; }
@media print { .scroll { overflow-x: visible; } h3, img, table { break-inside: avoid; } }
"""

# The policy forbids the browser to load anything that is not in the page.
_PAGE = string.Template(
    """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>$title</title>
<style>$style</style>
</head>
<body>
<main>
$body</main>
</body>
</html>
"""
)
