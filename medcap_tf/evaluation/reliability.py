"""The picture of what confidence is worth: a reliability diagram, and risk against coverage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from medcap_tf.evaluation.calibration import Bins, Judged, risk_coverage
from medcap_tf.files import whole_file

# Okabe and Ito's colors, and one marker each: told apart by color-blind readers, and in print.
_CAPTIONS, _CONCEPTS, _QUIET = "#0072B2", "#D55E00", "#767676"


def write_reliability(path: Path, judged: Judged) -> None:
    """Write the figure as PNG, atomically."""
    with whole_file(path) as file:
        reliability_figure(judged).savefig(file, dpi=150, format="png")


def reliability_figure(judged: Judged) -> Figure:
    """Left: of what is said with a confidence, the share that is right; on the diagonal it is calibrated. Right: the
    share of captions that name a wrong concept, among the surest ones."""
    figure = Figure(figsize=(8.6, 3.9), layout="constrained")
    reliability, coverage = figure.subplots(1, 2)
    reliability.plot([0, 1], [0, 1], color=_QUIET, linewidth=1, linestyle="--")
    _reliability(reliability, Bins.of(judged.confidence, judged.right), "captions", _CAPTIONS, "o")
    _reliability(reliability, judged.concepts, "concepts", _CONCEPTS, "s")
    reliability.set(xlabel="confidence", ylabel="share that is right", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    reliability.legend(frameon=False, fontsize=8, loc="best")
    _coverage(coverage, judged)
    for panel, title in ((reliability, "Reliability"), (coverage, "Risk and coverage")):
        panel.set_title(title, fontsize=10, loc="left", fontweight="bold")
        panel.tick_params(labelsize=8)
        panel.spines[["top", "right"]].set_visible(False)
    return figure


def _reliability(panel: Any, bins: Bins, name: str, color: str, marker: str) -> None:
    """A point a bin, at its mean confidence, the larger the more it holds."""
    counts, sure, right = np.array(bins)[:, bins.counts > 0]
    total = int(counts.sum())
    label = f"{total:,} {name}: error {bins.error:.3f}"
    panel.plot(sure / counts, right / counts, color=color, linewidth=1)
    panel.scatter(sure / counts, right / counts, 12 + 90 * counts / total, color, marker=marker, label=label)


def _coverage(panel: Any, judged: Judged) -> None:
    count, risk = len(judged.right), 1 - float(judged.right.mean())
    share = np.arange(1, count + 1) / count
    panel.axhline(risk, color=_QUIET, linewidth=1, linestyle="--", label="in any order")
    panel.plot(share, risk_coverage(judged.confidence, judged.right), color=_CAPTIONS, label="the surest first")
    # Nobody could do better: all right ones first.
    panel.plot(share, np.maximum(0, 1 - (1 - risk) / share), color=_QUIET, linewidth=1, label="if all were known")
    panel.set(xlabel="coverage: share of captions shown", ylabel="share with a wrong concept", xlim=(0, 1))
    panel.set_ylim(0, max(0.05, 1.25 * risk))
    panel.legend(frameon=False, fontsize=8)
