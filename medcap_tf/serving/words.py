"""Words to ids and ids to words in the graph, by tables that travel with the model as assets.

Axes: B captions, T tokens.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import tensorflow as tf

from medcap_tf.caption import CLOSED_UP
from medcap_tf.text import PAD, PIECE, PLAIN_MARKS, SENTENCE_ENDS, SPECIAL, UNK, Vocabulary, capitalized, stop_words

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
        words = [*SPECIAL, *map(vocabulary.surface, stems[len(SPECIAL) :])]
        lines = {
            "stems.txt": stems,
            "words.txt": words,
            "forms.txt": [f"{form}\t{token}" for form, token in sorted(_forms(vocabulary, captions).items())],
        }
        self._punctuation = vocabulary.normalizer.punctuation
        if self._punctuation:
            lines["first_words.txt"] = [capitalized(word) for word in words]
        for name, content in lines.items():
            (folder / name).write_text("".join(f"{line}\n" for line in content), encoding="utf-8")
        self.stems = _by_number(folder / "stems.txt")
        self.words = _by_number(folder / "words.txt")
        self.first_words = _by_number(folder / "first_words.txt") if self._punctuation else None  # of sentences
        self.forms = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(str(folder / "forms.txt"), tf.string, 0, tf.int64, 1, delimiter="\t"), UNK
        )

    def decode(self, tokens: tf.Tensor, readable: bool) -> tf.Tensor:
        """int32 [B, T] -> string [B, T]: stems, or the words that people write; empty at padding."""
        tokens = tf.cast(tokens, tf.int64)
        words = (self.words if readable else self.stems).lookup(tokens)
        if readable and self.first_words is not None:
            ends = tf.reduce_any(words[..., None] == tf.constant(SENTENCE_ENDS), -1)
            starts = tf.concat([tf.ones_like(ends[:, :1]), ends[:, :-1]], 1)
            words = tf.where(starts, self.first_words.lookup(tokens), words)
        return tf.where(tokens == PAD, "", words)

    def encode(self, captions: tf.Tensor, length: int) -> tf.Tensor:
        """string [B] -> int32 [B, `length`], padded; what `Vocabulary.encode` gives for words the tables know."""
        lower = tf.strings.lower(captions, encoding="utf-8")
        words = _pieces(lower) if self._punctuation else _words(lower)
        tokens = words.with_flat_values(self.forms.lookup(words.flat_values))
        kept = tf.ragged.boolean_mask(tokens, tokens != _LEFT_OUT)
        return tf.cast(kept[:, :length].to_tensor(PAD, shape=[None, length]), tf.int32)


def _words(lower: tf.Tensor) -> tf.RaggedTensor:
    """NLTK's words of text without its punctuation, string [B] -> string [B, (words)]."""
    plain = tf.strings.regex_replace(lower, r"[!-/:-@\[-`{-~]", "")
    # The tokenizer sets typographic quotes apart, and splits at every space of Unicode.
    return tf.strings.split(_spaced(tf.strings.regex_replace(plain, r"([«»“”‘’„])", r" \1 ")))


def _pieces(lower: tf.Tensor) -> tf.RaggedTensor:
    """Words and marks, string [B] -> string [B, (words)]."""
    for marks, plain in PLAIN_MARKS:
        lower = tf.strings.regex_replace(lower, marks, plain)
    return tf.strings.split(tf.strings.regex_replace(_spaced(lower), f"({PIECE})", r" \1 "))


def _spaced(text: tf.Tensor) -> tf.Tensor:
    return tf.strings.regex_replace(text, r"[\pZ\x{1c}-\x{1f}\x{85}]", " ")


def joined(words: tf.Tensor) -> tf.Tensor:
    """string [..., T], empty before and after each sentence -> string [...], a space between words."""
    return tf.strings.strip(tf.strings.reduce_join(words, axis=-1, separator=" "))


def sentence(words: tf.Tensor) -> tf.Tensor:
    """The same, as `caption.as_text` writes it."""
    text = joined(words)
    for between, closed in CLOSED_UP:
        text = tf.strings.regex_replace(text, between, closed)
    return text


def _by_number(path: Path) -> tf.lookup.StaticHashTable:
    whole, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
    return tf.lookup.StaticHashTable(
        tf.lookup.TextFileInitializer(str(path), tf.int64, number, tf.string, whole), default_value=""
    )


def _forms(vocabulary: Vocabulary, captions: Iterable[str]) -> dict[str, int]:
    """Word as written, in lower case without punctuation -> id, or _LEFT_OUT for stop words."""
    known = set(vocabulary.stems[len(SPECIAL) :])
    words = known | {vocabulary.surface(stem).lower() for stem in known} | _written(vocabulary, captions)
    words |= {word + ending for word in words for ending in _ENDINGS}
    encoded = {word: vocabulary.encode(word) for word in words}
    # A word that the tokenizer cuts in two has no single id, but where both halves are stop words.
    forms = {word: ids[0] for word, ids in encoded.items() if len(ids) == 1 and ids[0] != UNK}
    left_out = (word for word in stop_words() | {"cannot"} if not vocabulary.normalizer.tokens(word))
    return {**forms, **dict.fromkeys(left_out, _LEFT_OUT)}


def _written(vocabulary: Vocabulary, captions: Iterable[str]) -> set[str]:
    return {token.surface.lower() for caption in captions for token in vocabulary.normalizer.tokens(caption)}
