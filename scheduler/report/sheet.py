"""The contact sheet: one self-contained page of HTML, without scripts, for light and dark.

Everything on it that comes from users (names, ids, errors, arguments) is escaped.
"""

import json
from base64 import b64encode
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any, TextIO

from scheduler.ledger.batches import Progress
from scheduler.ledger.rows import RowRecord
from scheduler.report import words
from scheduler.report.comparison import Comparison
from scheduler.report.results import error_of
from scheduler.report.selection import Selection
from scheduler.report.thumbnails import Thumbnails, Unseen

STYLE = Path(__file__).with_name("sheet.css")
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""Nothing on the page is loaded from anywhere, nor runs, even if an escape were forgotten."""
LEGEND = """<p class="legend">The same part three times. <b>Source</b>: its own pixels, enlarged to
the result's size without smoothing. <b>Lanczos</b>: plain resampling, what there is without any
model. <b>Result</b>: pixel for pixel. Shown is a part with much detail where the result differs
from plain resampling; the small picture says where it is.</p>
"""


def write(
    page: TextIO,
    batch: Progress,
    arguments: Mapping[str, Any],
    selection: Selection,
    thumbnails: Thumbnails,
) -> None:
    """Write the page.

    Args:
        page: Where to.
        batch: Its counters and names.
        arguments: What it was submitted with.
        selection: The rows to show.
        thumbnails: Makes their pictures.
    """
    page.write(_head(batch))
    page.write(_summary(batch, arguments))
    page.writelines(_failures(batch, selection))
    page.writelines(_pictures(batch, selection, thumbnails))
    page.write("</main>\n</body>\n</html>\n")


def _head(batch: Progress) -> str:
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{_title(batch)} · Enlarger</title>
<style>
{STYLE.read_text(encoding="utf-8")}</style>
</head>
<body>
<main>
"""


def _title(batch: Progress) -> str:
    noun = "picture" if batch.total == 1 else "pictures"
    if batch.succeeded == batch.total:
        return f"{words.count(batch.succeeded)} {noun} enlarged"
    return f"{words.count(batch.succeeded)} of {words.count(batch.total)} {noun} enlarged"


def _summary(batch: Progress, arguments: Mapping[str, Any]) -> str:
    facts = {
        "From": words.text(words.place(batch.source)),
        "To": words.text(words.place(batch.destination)),
        "By": words.text(batch.endpoint) + _arguments(arguments),
        "Batch": f"<code>{batch.id}</code>, {_when(batch)}",
    }
    listed = "".join(f"<dt>{name}</dt><dd>{fact}</dd>\n" for name, fact in facts.items())
    reason = f'<p class="reason">{words.text(batch.reason)}</p>\n' if batch.reason else ""
    return f"""<header>
<p class="brand">Enlarger</p>
<h1>{_title(batch)}</h1>
{reason}<ul class="counters">
{"".join(_counters(batch))}</ul>
<dl class="facts">
{listed}</dl>
</header>
"""


def _arguments(arguments: Mapping[str, Any]) -> str:
    return "".join(
        f" <code>{words.text(f'{name}={json.dumps(value, ensure_ascii=False)}')}</code>"
        for name, value in arguments.items()
    )


def _when(batch: Progress) -> str:
    began = f"{batch.created_at:%Y-%m-%d %H:%M} UTC"
    if batch.ended_at is None:
        return began
    return f"{began}, took {words.duration((batch.ended_at - batch.created_at).total_seconds())}"


def _counters(batch: Progress) -> Iterator[str]:
    yield _counter("good", words.count(batch.succeeded - batch.existing), "enlarged")
    for kind, number, label in (
        ("", batch.reused, "of these copied from an earlier result"),
        ("", batch.existing, "there before"),
        ("bad", batch.failed, "failed"),
        ("bad", batch.rejected, "rejected"),
        ("", batch.cancelled, "cancelled"),
        ("", batch.skipped, "left out"),
    ):
        if number:
            yield _counter(kind, words.count(number), label)
    yield _counter("", words.size(batch.bytes_out), "written")
    yield _counter("", words.duration(batch.device_s), "on the device")


def _counter(kind: str, number: str, label: str) -> str:
    return f'<li class="{kind}"><b>{number}</b> {label}</li>\n'


def _failures(batch: Progress, selection: Selection) -> Iterator[str]:
    if selection.failures:
        shown = _shown(len(selection.failures), batch.failed + batch.rejected)
        yield f"<section>\n<h2>Without a result <small>{shown}</small></h2>\n"
        yield '<ol class="failures">\n'
        yield from (_failure(row, batch) for row in selection.failures)
        yield "</ol>\n</section>\n"


def _failure(row: RowRecord, batch: Progress) -> str:
    error = error_of(row) or {}
    name = words.name(row.source, batch.source) if row.source else f"line {row.line}"
    return f"""<li>
<p class="name">{words.text(name)}</p>
<p>{words.text(error.get("message", ""))}</p>
<p class="aside">{_joined(row.state, words.text(error.get("code", "")), *_origin(row))}</p>
</li>
"""


def _origin(row: RowRecord) -> tuple[str, str]:
    """Say which row it is."""
    own = "" if row.custom_id is None else f"id {words.text(row.custom_id)}"
    return f"line {words.count(row.line)}", own


def _joined(*parts: str) -> str:
    return " · ".join(part for part in parts if part)


def _shown(part: int, whole: int) -> str:
    if part == whole:
        return f"all {words.count(whole)}" if whole > 1 else ""
    return f"the first {words.count(part)} of {words.count(whole)}; results.jsonl has them all"


def _pictures(batch: Progress, selection: Selection, thumbnails: Thumbnails) -> Iterator[str]:
    rows = selection.pictures
    if rows:
        shown = _shown(len(rows), batch.succeeded)
        yield f"<section>\n<h2>Pictures <small>{shown}</small></h2>\n{LEGEND}"
        yield '<ol class="pictures">\n'
        for row, seen in zip(rows, thumbnails.of(rows), strict=True):
            yield _card(row, batch, seen)
        yield "</ol>\n</section>\n"


def _card(row: RowRecord, batch: Progress, seen: Comparison | Unseen) -> str:
    assert row.source is not None, "a row that succeeded has a source"
    name = words.text(words.name(row.source, batch.source))
    return f"""<li class="card">
{_views(seen)}
<div class="caption">{_overview(seen)}
<div><p class="name">{_linked(name, row, batch)}</p>
<p class="sizes">{_sizes(row)}</p>
<p class="aside">{_joined(*_times(row), *_origin(row))}</p></div></div>
</li>
"""


def _linked(name: str, row: RowRecord, batch: Progress) -> str:
    address = row.objects[0].get("address") if row.objects else None
    target = words.link(address, batch.destination) if address else None
    return f'<a href="{escape(target)}">{name}</a>' if target else name


def _views(seen: Comparison | Unseen) -> str:
    if isinstance(seen, Unseen):
        return f'<div class="none"><p>No picture: {words.text(seen)}</p></div>'
    views = {"source": seen.before, "Lanczos": seen.resampled, "result": seen.after}
    shown = "".join(_image(jpeg, seen, role) for role, jpeg in views.items())
    return f'<div class="views">{shown}</div>'


def _image(jpeg: bytes, comparison: Comparison, role: str) -> str:
    width, height = comparison.shown
    return (
        f'<figure><img class="{role}" alt="{role}" width="{width}" height="{height}"'
        f' src="{_data(jpeg)}"><figcaption>{role}</figcaption></figure>'
    )


def _overview(seen: Comparison | Unseen) -> str:
    if isinstance(seen, Unseen):
        return ""
    left, top, width, height = (f"{100 * part:.1f}%" for part in seen.frame)
    frame = f"left:{left};top:{top};width:{width};height:{height}"
    return (
        f'<span class="overview"><span><img alt="" src="{_data(seen.overview)}">'
        f'<i style="{frame}"></i></span></span>'
    )


def _data(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{b64encode(jpeg).decode()}"


def _sizes(row: RowRecord) -> str:
    """Say the sizes before and after, as the worker measured them."""
    first = row.objects[0] if row.objects else {}
    before = _measured(row.input.get("width"), row.input.get("height"), row.input.get("bytes"))
    after = _measured(first.get("width"), first.get("height"), first.get("size_bytes"))
    more = f" and {len(row.objects) - 1} more" if len(row.objects) > 1 else ""
    return f"{before} <span>→</span> <b>{after}</b>{more}"


def _measured(width: int | None, height: int | None, size_bytes: int | None) -> str:
    shape = words.pixels(width, height) if width is not None and height is not None else ""
    size = words.size(size_bytes) if size_bytes is not None else ""
    return ", ".join(part for part in (shape, size) if part) or "?"


def _times(row: RowRecord) -> Iterator[str]:
    if row.device_s is not None:
        yield f"{words.duration(row.device_s)} on the device"
    if row.total_s is not None:
        yield f"{words.duration(row.total_s)} in all"
