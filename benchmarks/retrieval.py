"""Finding similar images among many: all of them compared, and inverted lists: `python benchmarks/retrieval.py`.

On drawn vectors: random kinds of images, and images of each kind scattered around it, Hellinger's roots of all of them.
Prints a row a size: seconds to group them, memory of what is searched, milliseconds a query in batches of 8, and the
share of the true 32 nearest that are found.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from medcap_tf.models.inverted_lists import ListSearch, build_lists
from medcap_tf.models.retrieval import unit_rows

BATCH, NEIGHBORS, QUERIES = 8, 32, 64


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 300_000])
    parser.add_argument("--channels", type=int, default=512, help="conv3 has 512, conv4 1024, conv5 2048")
    args = parser.parse_args()
    print(
        "| images | grouped in | exact: MB | ms a query | lists searched | MB | ms a query | of the 32 nearest found |"
    )
    print("|---" * 8 + "|")
    for count in args.rows:
        print(row(count, args.channels), flush=True)


def draw(count: int, channels: int) -> np.ndarray:
    """float16 [M, C], a kind for each hundred images."""
    rng = np.random.default_rng(0)
    kinds = rng.gamma(0.5, size=(max(1, count // 100), channels)).astype(np.float32)
    rows = np.empty((count, channels), np.float16)
    for start in range(0, count, 8192):
        own = kinds[rng.integers(len(kinds), size=min(8192, count - start))]
        rows[start : start + len(own)] = own * rng.gamma(2.0, 0.5, size=own.shape)
    return rows


def row(count: int, channels: int) -> str:
    """A line of the table."""
    drawn = draw(count + QUERIES, channels)
    rows, queries = unit_rows(drawn[:count], np.float16), tf.constant(unit_rows(drawn[count:]))
    began = time.perf_counter()
    lists = build_lists(rows)
    grouped = time.perf_counter() - began
    search, exact = ListSearch(rows, lists, np.arange(count)), tf.constant(rows, tf.float32)
    whole = tf.function(lambda x: tf.math.top_k(tf.matmul(x, exact, transpose_b=True), NEIGHBORS).indices)
    listed = tf.function(lambda x: search.nearest(x, NEIGHBORS, None, -1e9)[1])
    (true, slow), (found, fast) = timed(whole, queries), timed(listed, queries)
    recall = np.mean([len(set(a) & set(b)) / NEIGHBORS for a, b in zip(true.tolist(), found.tolist())])
    sizes = 4 * count * channels / 1e6, count * channels / 1e6
    return (
        f"| {count:,} | {grouped:.0f} s | {sizes[0]:,.0f} | {slow:.1f} | {lists.probes} of {len(lists.centroids):,} | "
        f"{sizes[1]:,.0f} | {fast:.1f} | {recall:.1%} |"
    )


def timed(search: Callable, queries: tf.Tensor) -> tuple[np.ndarray, float]:
    """What is found, and milliseconds a query, the fastest of three passes."""
    batches = [queries[start : start + BATCH] for start in range(0, QUERIES, BATCH)]
    search(batches[0])
    fastest = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        found = np.concatenate([search(batch).numpy() for batch in batches])
        fastest = min(fastest, time.perf_counter() - began)
    return found, 1000 * fastest / QUERIES


if __name__ == "__main__":
    main()
