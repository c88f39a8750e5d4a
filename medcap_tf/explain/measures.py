"""What the audit measures, in words for people."""

from __future__ import annotations

# Title and meaning of each measure.
MEASURES = {
    "pointing_game": (
        "Pointing game",
        "Share of the words that name a finding or its place whose map peaks inside the finding; random and centre are "
        "chance.",
    ),
    "deletion": (
        "Deletion",
        "A word's log-probability as its heaviest regions are blurred away (area, nats): lower is better.",
    ),
    "insertion": (
        "Insertion",
        "A word's log-probability as its heaviest regions are shown (area, nats): higher is better.",
    ),
    "word_deletion": (
        "Word deletion",
        "Fall of the right concepts' scores without the heaviest third of the words: higher is better.",
    ),
    "randomised": (
        "Randomized weights",
        "Rank correlation with the true maps as parts of the model are shuffled, output first: it must fall.",
    ),
    "stability": (
        "Stability",
        "Share of a map that moves under noise that leaves the caption as it is: lower is better.",
    ),
}
