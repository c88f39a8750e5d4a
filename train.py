"""Train a captioner: `python train.py --data DIR --out RUN`."""

from medcap_tf.cli import train

if __name__ == "__main__":
    train()
