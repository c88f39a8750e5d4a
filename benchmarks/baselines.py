"""What a captioner has to beat: captions without an image, copied captions, and words put at their usual places.

Each function takes training records and what it needs of the images' features, and returns one caption an image. The
captions are readable words; `quality.py` scores them like any others.

Axes: M training images, N images to caption, C channels, W words, T tokens.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from medcap_tf.decoding import beam_search
from medcap_tf.evaluation.baselines import popular_words
from medcap_tf.evaluation.metrics import caption_scores
from medcap_tf.text import END, PAD, START, UNK, Vocabulary


def popular_shuffled(captions: Sequence[str], count: int, seed: int = 0) -> list[str]:
    """The most frequent words of the training captions, in another order for each image."""
    rng = np.random.default_rng(seed)
    words = popular_words(captions).split()
    return [" ".join(rng.permutation(words)) for _ in range(count)]


def language_model(captions: Sequence[str], vocabulary: Vocabulary, epochs: int = 15, seed: int = 0) -> str:
    """The best sentence, found by a beam of 3, of a GRU language model that sees no image."""
    keras.utils.set_random_seed(seed)
    rows = [[START, *vocabulary.encode(caption), END] for caption in captions]
    tokens = tf.ragged.constant(rows, dtype=tf.int32).to_tensor(PAD)
    embed = keras.layers.Embedding(len(vocabulary), 256, mask_zero=True)
    gru = keras.layers.GRU(512, dropout=0.3, return_sequences=True)
    project = keras.layers.Dense(len(vocabulary))
    words = keras.Input((None,), dtype="int32")
    model = keras.Model(words, project(gru(embed(words))))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=PAD)
    model.compile(keras.optimizers.AdamW(1e-3), loss)
    model.fit(tokens[:, :-1], tokens[:, 1:], 32, epochs, verbose=0)

    def step(t: tf.Tensor, words: tf.Tensor, state: dict[str, tf.Tensor]):
        flat = tf.reshape(state["h"], [-1, 512])
        _, new = gru.cell(embed(tf.reshape(words, [-1])), [flat])
        new = tf.reshape(new[0], [1, -1, 512])
        return project(new), tf.zeros([1, tf.shape(words)[1], 1]), {"h": new}

    found = beam_search(
        step, {"h": tf.zeros([1, 3, 512])}, batch=tf.constant(1), places=1, beam_width=3, max_length=30, start=START,
        end=END, forbidden=(PAD, START, UNK), pad=PAD,
    )  # fmt: skip
    return " ".join(vocabulary.readable(vocabulary.decode(found.tokens.numpy()[0])))


class PlacedWords:
    """The winner of ImageCLEFmed Caption 2021 in small: a classifier of words, each put at its usual place."""

    def __init__(self, captions: Sequence[str], features: np.ndarray, seed: int = 0, epochs: int = 60):
        keras.utils.set_random_seed(seed)
        cut = [caption.lower().rstrip(".").split() for caption in captions]
        counts = Counter(word for words in cut for word in set(words))
        self.words = sorted(word for word in counts if counts[word] >= 2)
        places: dict[str, list[float]] = defaultdict(list)
        for words in cut:
            for place, word in enumerate(words):
                places[word].append(place)
        self.place = {word: float(np.mean(places[word])) for word in self.words}
        index = {word: i for i, word in enumerate(self.words)}
        truth = np.zeros((len(cut), len(self.words)), np.float32)
        for row, words in enumerate(cut):
            truth[row, [index[word] for word in words if word in index]] = 1
        self.model = keras.Sequential(
            [
                keras.layers.BatchNormalization(),
                keras.layers.Dropout(0.5),
                keras.layers.Dense(len(self.words), activation="sigmoid"),
            ]
        )
        self.model.compile(keras.optimizers.AdamW(1e-3, weight_decay=1e-2), "binary_crossentropy")
        self.model.fit(features.astype(np.float32), truth, 64, epochs, verbose=0)
        self.threshold = 0.5

    def tune(self, features: np.ndarray, references: Sequence[str]) -> None:
        """Choose the threshold with the highest BLEU-4 on validation images."""
        scores = self.model.predict(features.astype(np.float32), verbose=0)
        candidates = np.arange(0.1, 0.6, 0.05)
        values = [caption_scores(references, self._write(scores, x))["bleu_4"] for x in candidates]
        self.threshold = float(candidates[int(np.argmax(values))])

    def captions(self, features: np.ndarray) -> list[str]:
        """float [N, C] -> N captions."""
        return self._write(self.model.predict(features.astype(np.float32), verbose=0), self.threshold)

    def _write(self, scores: np.ndarray, threshold: float) -> list[str]:
        chosen = ([self.words[i] for i in np.flatnonzero(row >= threshold)] for row in scores)
        return [" ".join(sorted(words, key=self.place.__getitem__)) for words in chosen]
