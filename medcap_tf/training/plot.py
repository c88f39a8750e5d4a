"""The learning curves as one picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from medcap_tf.files import whole_file

# Okabe and Ito's palette: told apart by color-blind people and in print.
_BLUE, _ORANGE = "#0072B2", "#D55E00"
_SHOWN = {
    "small": ("concepts from small images", "valid_concept_f1", "concept F1"),
    "visual": ("concepts from images", "valid_concept_f1", "concept F1"),
    "semantic": ("concepts from words", "valid_concept_f1", "concept F1"),
    "caption": ("captions", "valid_bleu_4", "BLEU-4"),
    "self_critical": ("captions by reward", "valid_cider", "CIDEr-D"),
}


def plot_history(rows: list[dict[str, Any]], path: Path) -> None:
    """A PNG, written atomically: one panel a stage, training loss on the left axis, validation score on the right."""
    stages = [stage for stage in _SHOWN if any(row["stage"] == stage for row in rows)]
    # A Figure of its own, not pyplot: nothing global, and no window system is asked for.
    figure = Figure(figsize=(4.5 * len(stages), 3.4), layout="constrained")
    for panel, stage in zip(figure.subplots(1, len(stages), squeeze=False)[0], stages):
        title, column, label = _SHOWN[stage]
        here = [row for row in rows if row["stage"] == stage]
        epochs = [int(row["epoch"]) for row in here]
        panel.plot(epochs, [float(row["loss"]) for row in here], color=_BLUE, label="training loss")
        unit = "negative reward" if stage == "self_critical" else "nats"
        panel.set(title=title, xlabel="epoch", ylabel=f"training loss ({unit})")
        panel.yaxis.label.set_color(_BLUE)
        panel.xaxis.get_major_locator().set_params(integer=True)
        score, values = panel.twinx(), [float(row[column]) for row in here]
        score.plot(epochs, values, color=_ORANGE, linestyle="--", marker="o", markersize=3)
        score.set_ylabel(f"validation {label}", color=_ORANGE)
        score.set_ylim(0, 1.05 * max(values) or None)
    with whole_file(path) as file:
        figure.savefig(file, dpi=120, format="png")
