"""A sheet as one HTML file that needs nothing beside itself."""

from __future__ import annotations

import base64
import html
import io

from cnnatomy.report.sheets.sheet import Sheet, Tile, TileRow

SHARP_SIDE = 100
"""Pixels: smaller images are kept exactly, larger ones as JPEG, which takes a tenth."""
QUALITY = 85

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --faint: #555 }}
@media (prefers-color-scheme: dark) {{ :root {{ --faint: #aaa }} }}
body {{ margin: 1rem auto; padding: 0 1rem; max-width: 80rem; font: 16px/1.4 system-ui, sans-serif }}
h1 {{ font-size: 1.3rem; overflow-wrap: anywhere }}
h2 {{ font-size: 1rem; margin: 1.2rem 0 .3rem; overflow-wrap: anywhere }}
p, figcaption {{ color: var(--faint); margin: 0 }}
.row, .group {{ display: flex; flex-wrap: wrap; gap: .3rem }}
.row {{ gap: .3rem 1rem }}
.swatch {{ display: inline-block; width: .7em; height: .7em }}
figure {{ margin: 0; max-width: 100% }}
img {{ display: block; max-width: 100%; height: auto }}
figcaption {{ font-size: .75rem; max-width: 10rem; overflow-wrap: anywhere }}
</style>
</head>
<body>
<h1>{title}</h1>
{lines}
{rows}
</body>
</html>
"""


def html_page(sheet: Sheet) -> str:
    """The page; everything that came from names is escaped."""
    return PAGE.format(
        title=html.escape(sheet.title),
        lines="\n".join(f"<p>{html.escape(line)}</p>" for line in sheet.lines),
        rows="\n".join(map(_row, sheet.rows)),
    )


def _row(row: TileRow) -> str:
    groups = "\n".join(f'<div class="group">{"".join(map(_figure, group))}</div>' for group in row.groups)
    title = html.escape(row.title)
    if row.colour is not None:
        title = f'<span class="swatch" style="background: rgb{row.colour}"></span> {title}'
    return f'<section><h2>{title}</h2>\n<div class="row">{groups}</div></section>'


def _figure(tile: Tile) -> str:
    caption = html.escape(tile.caption)
    below = f"<figcaption>{caption}</figcaption>" if caption else ""
    size = f'width="{tile.image.width}" height="{tile.image.height}"'
    return f'<figure><img loading="lazy" {size} alt="{caption}" src="{_data(tile)}">{below}</figure>'


def _data(tile: Tile) -> str:
    file = io.BytesIO()
    sharp = max(tile.image.size) < SHARP_SIDE
    if sharp:
        tile.image.save(file, "PNG")
    else:
        tile.image.save(file, "JPEG", quality=QUALITY)
    kind = "png" if sharp else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
