"""The audit as one figure: what a reader should take from `audit.json` at a glance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from matplotlib.figure import Figure

_TITLES = {
    "evidence": "evidence",
    "hires_cam": "HiResCAM",
    "attention": "attention",
    "grad_cam": "Grad-CAM",
    "gradient": "gradient",
    "location_prior": "location\nprior",
}
# Okabe and Ito's palette, told apart by color-blind readers; what is chance is gray.
_COLORS = {
    "evidence": "#009E73",
    "attention": "#0072B2",
    "hires_cam": "#D55E00",
    "grad_cam": "#E69F00",
    "gradient": "#E69F00",
    "importance": "#009E73",
}
_MAPS = ("evidence", "attention", "hires_cam", "grad_cam")
_CHANCE = "#999999"


class _Bars(NamedTuple):
    """A panel of bars."""

    title: str
    values: Mapping[str, float | None]  # None: not measured
    label: str
    wish: str

    @property
    def measured(self) -> dict[str, float]:
        return {name: value for name, value in self.values.items() if value is not None}


def audit_figure(audit: Mapping[str, Any], dpi: int) -> Figure:
    """A panel for each measure that was taken, in two rows; the heading names the others."""
    bars = list(_all_bars(audit))
    shown = [one for one in bars if one.measured]
    columns = (len(shown) + 2) // 2  # with the panel of lines
    figure = Figure(figsize=(4 * columns, 7.4), dpi=dpi, layout="constrained")
    panels = figure.subplots(2, columns).ravel()
    for panel, one in zip(panels, shown):
        _draw_bars(panel, one)
    _lines(panels[len(shown)], audit["randomised"])
    for panel in panels[len(shown) + 1 :]:
        panel.remove()
    missing = ", ".join(one.title for one in bars if not one.measured)
    more = f"; not measured on this data: {missing}" if missing else ""
    figure.suptitle(f"{audit['split']}: {audit['images']} images{more}", fontsize=11)
    return figure


def _all_bars(audit: Mapping[str, Any]) -> Iterator[_Bars]:
    pointing, side = audit["pointing_game"], audit["side"]
    painted = {"whole": "word", "finding\npainted over": "word_painted_over", "equal area": "word_equal_area"}
    erasure = {name: audit["erasure"].get(key) for name, key in painted.items()}
    yield _Bars("erasure", erasure, "log-probability of the finding's words (nats)", "the second should fall alone")
    maps = {key: pointing.get(f"finding_{key}") for key in (*_MAPS, "location_prior", "random", "ceiling")}
    yield _Bars("pointing game", maps, "words with the peak inside the finding", "higher is better")
    halves = {key: side.get(key) for key in (*_MAPS, "random")} if side.get("words") else {}
    yield _Bars("side", halves, "left and right on the matching half", "higher is better")
    for name, title, label, wish in (
        ("deletion", "deletion", "area under log-probability (nats)", "lower is better"),
        ("deletion_imputed", "deletion, imputed", "mean log-probability (nats)", "lower is better"),
        ("insertion", "insertion", "area under log-probability (nats)", "higher is better"),
    ):
        yield _Bars(title, {key: audit[name].get(key) for key in (*_MAPS, "random", "oracle")}, label, wish)
    fidelity = {key: audit["mu_fidelity"].get(key) for key in _MAPS}
    yield _Bars("MuFidelity", fidelity, "correlation with what regions cost", "higher is better")
    drops = {key: audit["word_deletion"].get(key) for key in ("importance", "attention", "gradient", "random")}
    yield _Bars("word deletion", drops, "fall of the right concepts' score", "higher is better")
    moved = {key: value for key, value in audit["stability"].items() if key in _TITLES}
    yield _Bars("stability", moved, "share of the map that moves", "lower is better")


def _draw_bars(panel: Any, one: _Bars) -> None:
    panel.set_title(f"{one.title} ({one.wish})", fontsize=10)
    names = [_TITLES.get(name, name) for name in one.measured]
    colors = [_COLORS.get(name, _CHANCE) for name in one.measured]
    drawn = panel.bar(names, list(one.measured.values()), color=colors)
    panel.bar_label(drawn, fmt="%.3f", fontsize=8, padding=1)
    panel.set_ylabel(one.label, fontsize=9)
    panel.tick_params(axis="x", labelrotation=30 if len(names) > 4 else 0, labelsize=8)  # side by side they overlap
    panel.margins(y=0.12)
    panel.spines[["top", "right"]].set_visible(False)


def _lines(panel: Any, by_part: Mapping[str, Mapping[str, float]]) -> None:
    panel.set_title("randomized, output first (should fall)", fontsize=10)
    parts = ["none", *by_part]
    for name, marker in zip(_MAPS, "^oDs"):
        if not any(name in values for values in by_part.values()):
            continue
        values = [1.0, *(by_part[part].get(name, float("nan")) for part in by_part)]
        panel.plot(parts, values, marker=marker, color=_COLORS[name], label=_TITLES[name])
    panel.axhline(0, color=_CHANCE, linewidth=0.8)
    panel.set_ylabel("rank correlation with the true map", fontsize=9)
    panel.tick_params(axis="x", labelrotation=30, labelsize=8)
    panel.legend(fontsize=8)
    panel.spines[["top", "right"]].set_visible(False)
