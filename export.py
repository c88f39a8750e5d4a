"""Export a run for TensorFlow Serving: `python export.py RUN --out BASE`."""

from medcap_tf.cli import export

if __name__ == "__main__":
    export()
