"""Words to ids and ids to words in the graph, by tables that travel with the model as assets.

Axes: B captions, T tokens.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import tensorflow as tf

from medcap_tf.text import PAD, SPECIAL, UNK, Vocabulary, stop_words

_LEFT_OUT = -1
# Endings that a word of the vocabulary is likely to be met with; each form is kept where the stemmer agrees.
_ENDINGS = ("s", "es", "ed", "d", "ing", "ly", "al", "ally", "ies", "ied", "y", "ion", "ions", "er", "ers")


class WordTables(tf.Module):
    """A vocabulary in the graph.

    The stemmer cannot be a part of the graph, so its answers are: for every word of the vocabulary, every word of the
    captions at hand and their likely inflections. A form that is not among them is an unknown word.
    """

    def __init__(self, vocabulary: Vocabulary, captions: Iterable[str], folder: Path):
        """Write the tables to `folder`; saving the module copies them into its assets."""
        super().__init__()
        stems = vocabulary.stems
        lines = {
            "stems.txt": stems,
            "words.txt": (*SPECIAL, *vocabulary.readable(stems[len(SPECIAL) :])),
            "forms.txt": [f"{form}\t{token}" for form, token in sorted(_forms(vocabulary, captions).items())],
        }
        for name, content in lines.items():
            (folder / name).write_text("".join(f"{line}\n" for line in content), encoding="utf-8")
        self.stems = _by_number(folder / "stems.txt")
        self.words = _by_number(folder / "words.txt")
        self.forms = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(str(folder / "forms.txt"), tf.string, 0, tf.int64, 1, delimiter="\t"), UNK
        )

    def decode(self, tokens: tf.Tensor, readable: bool) -> tf.Tensor:
        """int32 [B, T] -> string [B, T]: stems, or the words that people write; empty at padding."""
        table = self.words if readable else self.stems
        return tf.where(tokens == PAD, "", table.lookup(tf.cast(tokens, tf.int64)))

    def encode(self, captions: tf.Tensor, length: int) -> tf.Tensor:
        """string [B] -> int32 [B, `length`], padded; what `Vocabulary.encode` gives for words the tables know."""
        lower = tf.strings.lower(captions, encoding="utf-8")
        plain = tf.strings.regex_replace(lower, r"[!-/:-@\[-`{-~]", "")
        # The tokenizer sets typographic quotes apart, and splits at every space of Unicode.
        apart = tf.strings.regex_replace(plain, r"([«»“”‘’„])", r" \1 ")
        spaced = tf.strings.regex_replace(apart, r"[\pZ\x{1c}-\x{1f}\x{85}]", " ")
        words = tf.strings.split(spaced)
        tokens = words.with_flat_values(self.forms.lookup(words.flat_values))
        kept = tf.ragged.boolean_mask(tokens, tokens != _LEFT_OUT)
        return tf.cast(kept[:, :length].to_tensor(PAD, shape=[None, length]), tf.int32)


def sentence(words: tf.Tensor) -> tf.Tensor:
    """string [..., T], empty before and after each sentence -> string [...]."""
    return tf.strings.strip(tf.strings.reduce_join(words, axis=-1, separator=" "))


def _by_number(path: Path) -> tf.lookup.StaticHashTable:
    whole, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
    return tf.lookup.StaticHashTable(
        tf.lookup.TextFileInitializer(str(path), tf.int64, number, tf.string, whole), default_value=""
    )


def _forms(vocabulary: Vocabulary, captions: Iterable[str]) -> dict[str, int]:
    """Word as written, in lower case without punctuation -> id, or _LEFT_OUT for stop words."""
    known = set(vocabulary.stems[len(SPECIAL) :])
    words = known | set(vocabulary.readable(sorted(known))) | _written(vocabulary, captions)
    words |= {word + ending for word in words for ending in _ENDINGS}
    encoded = {word: vocabulary.encode(word) for word in words}
    # A word that the tokenizer cuts in two has no single id, but where both halves are stop words.
    forms = {word: ids[0] for word, ids in encoded.items() if len(ids) == 1 and ids[0] != UNK}
    left_out = (word for word in stop_words() | {"cannot"} if not vocabulary.normalizer.tokens(word))
    return {**forms, **dict.fromkeys(left_out, _LEFT_OUT)}


def _written(vocabulary: Vocabulary, captions: Iterable[str]) -> set[str]:
    return {token.surface for caption in captions for token in vocabulary.normalizer.tokens(caption)}
