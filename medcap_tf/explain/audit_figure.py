"""The audit as one figure: what a reader should take from `audit.json` at a glance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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


def audit_figure(audit: Mapping[str, Any], dpi: int) -> Figure:
    """Eight panels, one a measure; a measure that was not taken says so."""
    figure = Figure(figsize=(16, 7.4), dpi=dpi, layout="constrained")
    panels = figure.subplots(2, 4).ravel()
    erasure, pointing = audit["erasure"], audit["pointing_game"]
    painted = {"whole": "word", "finding\npainted over": "word_painted_over", "equal area": "word_equal_area"}
    _bars(panels[0], "erasure", {name: erasure.get(key) for name, key in painted.items()},
          "log-probability of the finding's words (nats)", "the second should fall alone")  # fmt: skip
    maps = (*_MAPS, "location_prior", "random", "ceiling")
    _bars(panels[1], "pointing game", {key: pointing.get(f"finding_{key}") for key in maps},
          "words with the peak inside the finding", "higher is better")  # fmt: skip
    for panel, name, wish in ((panels[2], "deletion", "lower is better"), (panels[3], "insertion", "higher is better")):
        areas = {key: audit[name].get(key) for key in (*_MAPS, "random", "oracle")}
        _bars(panel, name, areas, "area under log-probability (nats)", wish)
    fidelity = {key: audit["mu_fidelity"].get(key) for key in _MAPS}
    _bars(panels[4], "MuFidelity", fidelity, "correlation with what regions cost", "higher is better")
    drops = {key: audit["word_deletion"].get(key) for key in ("importance", "attention", "gradient", "random")}
    _bars(panels[5], "word deletion", drops, "fall of the right concepts' score", "higher is better")
    _lines(panels[6], audit["randomised"])
    moved = {key: value for key, value in audit["stability"].items() if key in _TITLES}
    _bars(panels[7], "stability", moved, "share of the map that moves", "lower is better")
    figure.suptitle(f"{audit['split']}: {audit['images']} images", fontsize=11)
    return figure


def _bars(panel: Any, title: str, values: Mapping[str, float | None], label: str, wish: str) -> None:
    panel.set_title(f"{title} ({wish})", fontsize=10)
    shown = {name: value for name, value in values.items() if value is not None}
    if not shown:
        panel.text(0.5, 0.5, "not measured on this data", ha="center", va="center", transform=panel.transAxes)
        panel.set_axis_off()
        return
    names = [_TITLES.get(name, name) for name in shown]
    bars = panel.bar(names, list(shown.values()), color=[_COLORS.get(name, _CHANCE) for name in shown])
    panel.bar_label(bars, fmt="%.3f", fontsize=8)
    panel.set_ylabel(label, fontsize=9)
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
