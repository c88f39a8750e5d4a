"""A trained captioner as a SavedModel for TensorFlow Serving: export, check, client."""
