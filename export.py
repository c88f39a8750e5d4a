"""Export a run for TensorFlow Serving: `python export.py RUN --out BASE`, the same as `medcap export`."""

import sys

from medcap_tf.cli.main import main

if __name__ == "__main__":
    main(["export", *sys.argv[1:]])
