"""Scores of a captioner, beside its baselines."""
