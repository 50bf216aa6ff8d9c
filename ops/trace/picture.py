"""A trace as a waterfall: one line a span, over time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ops.trace.collector import Span

__all__ = ["draw", "lines_of"]

_COLOURS = {
    "easel-api": "#4c78a8",
    "easel-admission": "#f58518",
    "easel-generation": "#54a24b",
    "easel-webhooks": "#b279a2",
}
_OTHER = "#9d9d9d"
_MS = 1e6


def lines_of(spans: Sequence[Span]) -> list[tuple[int, Span]]:
    """Depth and span, children below their parents, each in the order in which they began."""
    known = {span.id for span in spans}
    below: dict[str, list[Span]] = {}
    for span in sorted(spans, key=lambda one: (one.began_ns, -one.ended_ns)):
        below.setdefault(span.parent if span.parent in known else "", []).append(span)
    found: list[tuple[int, Span]] = []

    def walk(parent: str, depth: int) -> None:
        for span in below.get(parent, ()):
            found.append((depth, span))
            walk(span.id, depth + 1)

    walk("", 0)
    return found


def draw(spans: Sequence[Span], path: Path) -> None:
    """Write the picture to ``path``. Raises ``ValueError`` where there is nothing to draw."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.patches import Patch

    lines = lines_of(spans)
    if not lines:
        raise ValueError("the trace has no spans")
    start = min(span.began_ns for _, span in lines)
    end = max(span.ended_ns for _, span in lines)
    figure, axes = plt.subplots(figsize=(11, 0.8 + 0.36 * len(lines)), layout="constrained")
    for row, (_, span) in enumerate(lines):
        left, width = (span.began_ns - start) / _MS, (span.ended_ns - span.began_ns) / _MS
        axes.barh(row, max(width, (end - start) / _MS / 400), left=left, color=_COLOURS.get(span.service, _OTHER))
        late = left + width > (end - start) / _MS * 0.8
        axes.annotate(
            f"{width:,.1f} ms",
            (left if late else left + width, row),
            xytext=(-4 if late else 4, 0),
            textcoords="offset points",
            ha="right" if late else "left",
            va="center",
            fontsize=8,
        )
    axes.set_yticks(range(len(lines)), [f"{'    ' * depth}{_label(span)}" for depth, span in lines], ha="left")
    axes.tick_params(axis="y", pad=210, length=0, labelsize=9)
    axes.invert_yaxis()
    axes.set_xlabel("ms since the request came")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    services = list(dict.fromkeys(span.service for _, span in lines))
    axes.legend(
        handles=[Patch(color=_COLOURS.get(service, _OTHER), label=service) for service in services],
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=len(services),
        frameon=False,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _label(span: Span) -> str:
    told = span.attributes.get("easel.decision") or span.attributes.get("easel.event", "")
    short = str(told).removeprefix("easel.generation.").removesuffix(".v1")
    return f"{span.name} ({short})" if short else span.name
