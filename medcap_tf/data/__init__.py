"""From tables and image files to records and batches."""
