"""Train a captioner: `python train.py --data DIR --out RUN`, the same as `medcap train`."""

import sys

from medcap_tf.cli.main import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
