"""Captions to tokens and back: normalization with NLTK, the vocabulary, stems made readable again, sentences."""

from __future__ import annotations

import functools
import re
import string
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from typing import Any, NamedTuple

from nltk.stem import LancasterStemmer, PorterStemmer, SnowballStemmer
from nltk.tokenize import word_tokenize

from medcap_tf.errors import InputError

PAD, UNK, START, END = range(4)
SPECIAL = ("<pad>", "<unk>", "<start>", "<end>")
NEVER_GENERATED = (PAD, START, UNK)

_DELETE_PUNCTUATION = str.maketrans("", "", string.punctuation)
# A text's typographic marks as plain ones; quotation marks, which say nothing of an image, as spaces. Both as classes
# that Python's and RE2's regular expressions read alike.
PLAIN_MARKS = (
    ("[\u2018\u2019\u00b4`]", "'"),
    ("[\u2010-\u2015\u2212]", "-"),
    ('[\u201c\u201d\u201e\u00ab\u00bb"]', " "),
)
# A number with its decimals, a word with what is joined to it ("T1-weighted", "patient's"), or one mark.
_LETTER = "[A-Za-z0-9\u0080-\U0010ffff]"
PIECE = f"[0-9]+(?:[.,:][0-9]+)+(?:[-'/]{_LETTER}+)*|{_LETTER}+(?:[-'/]{_LETTER}+)*|[^\\s]"
_DIGIT = re.compile("[0-9]")
SENTENCE_ENDS = (".", "!", "?")
_STEMMERS = {
    "snowball": functools.partial(SnowballStemmer, "english"),
    "porter": PorterStemmer,
    "lancaster": LancasterStemmer,
}


class Token(NamedTuple):
    """A word as the models know it and as it was written."""

    stem: str
    surface: str


@functools.lru_cache(maxsize=1)
def stop_words() -> frozenset[str]:
    """English stop words, from the package's own asset (its first lines name the source)."""
    text = resources.files("medcap_tf").joinpath("assets/stop_words_english.txt").read_text(encoding="utf-8")
    return frozenset(line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#"))


@functools.lru_cache(maxsize=100_000)
def _stem(stemmer: str, word: str) -> str:
    return word if stemmer == "none" else _stemmer(stemmer).stem(word)


# A training cuts each caption a dozen times: for the vocabulary, the batches, the datastore, baselines and scores.
@functools.lru_cache(maxsize=200_000)
def _words(caption: str) -> tuple[str, ...]:
    words = word_tokenize(caption.lower().translate(_DELETE_PUNCTUATION), preserve_line=True)
    return tuple(map(sys.intern, words))


@functools.lru_cache(maxsize=200_000)
def _pieces(caption: str) -> tuple[Token, ...]:
    """Words and marks. A capital at a sentence's start is the sentence's, not the word's."""
    for marks, plain in PLAIN_MARKS:
        caption = re.sub(marks, plain, caption)
    pieces = re.findall(PIECE, " ".join(caption.split()))
    # "MRI" and "T1-weighted" have capitals of their own, a sentence's "Axial" and "A" have not.
    written = (
        piece.lower() if start and piece == capitalized(piece.lower()) and not _DIGIT.search(piece) else piece
        for piece, start in zip(pieces, sentence_starts(pieces))
    )
    return tuple(Token(piece.lower(), sys.intern(own)) for piece, own in zip(pieces, written))


def words_of(text: str, count: int) -> tuple[str, ...]:
    """The words, so many, of a caption as it is written: where marks stand close to words, these are apart again."""
    words = text.split()
    return tuple(words if len(words) == count else re.findall(PIECE, text))


def sentence_starts(words: Sequence[str]) -> list[bool]:
    """Which words begin a sentence: the first, and those after a full stop."""
    return [i == 0 or words[i - 1] in SENTENCE_ENDS for i in range(len(words))]


def capitalized(word: str) -> str:
    """As the first word of a sentence is written."""
    return word[:1].upper() + word[1:]


@functools.cache
def _stemmer(name: str) -> Any:
    return _STEMMERS[name]()


@dataclass(frozen=True)
class Normalizer:
    """Lower case, no punctuation, NLTK tokens, no stop words, stems: the order of the 2021 task's own script.

    Punctuation is deleted before tokenizing, so "T1-weighted" is one word, "t1weighted". With `punctuation` marks are
    words of their own, "T1-weighted" and "3.5" stay what they are, and captions are written as sentences.

    Raises:
        InputError: the stemmer is unknown.
    """

    stemmer: str = "snowball"
    remove_stop_words: bool = True
    punctuation: bool = False

    def __post_init__(self) -> None:
        if self.stemmer not in (*_STEMMERS, "none"):
            raise InputError(f"text.stemmer: {self.stemmer!r} is none of {', '.join((*_STEMMERS, 'none'))}")

    def tokens(self, caption: str) -> list[Token]:
        """The caption's words in order; empty where nothing is left."""
        return [Token(_stem(self.stemmer, word), written) for word, written in self._kept(caption)]

    def stems(self, caption: str) -> list[str]:
        """The stems alone."""
        return [_stem(self.stemmer, word) for word, _ in self._kept(caption)]

    def _kept(self, caption: str) -> Iterable[tuple[str, str]]:
        """The words that count, in lower case and as written."""
        if self.punctuation:
            words: Iterable[tuple[str, str]] = _pieces(caption)
        else:
            words = ((word, word) for word in _words(caption))
        dropped = stop_words() if self.remove_stop_words else frozenset()
        return (pair for pair in words if pair[0] not in dropped)


class Vocabulary:
    """Stems with their ids, and for each stem the surface form seen most often in training.

    Ids 0 to 3 are `<pad>`, `<unk>`, `<start>`, `<end>`; the rest follow by falling count, then alphabetically.
    """

    def __init__(self, words: Mapping[str, str], normalizer: Normalizer):
        self.normalizer = normalizer
        self.stems: tuple[str, ...] = (*SPECIAL, *words)
        self._surface = dict(words)
        self._ids = {stem: i for i, stem in enumerate(self.stems)}

    def __len__(self) -> int:
        return len(self.stems)

    @classmethod
    def build(cls, captions: Iterable[str], normalizer: Normalizer, min_count: int = 1) -> Vocabulary:
        """Collect the stems that occur at least `min_count` times.

        Raises:
            InputError: no stem is that frequent.
        """
        surfaces: dict[str, Counter[str]] = defaultdict(Counter)
        for caption in captions:
            for token in normalizer.tokens(caption):
                surfaces[token.stem][token.surface] += 1
        counts = {stem: sum(forms.values()) for stem, forms in surfaces.items()}
        kept = sorted((s for s in counts if counts[s] >= min_count), key=lambda s: (-counts[s], s))
        if not kept:
            raise InputError(f"no word occurs {min_count} times in the training captions; lower text.min_count")
        # Ties between forms go to the alphabetically first, so that a rebuilt vocabulary is the same.
        return cls({s: min(surfaces[s], key=lambda form: (-surfaces[s][form], form)) for s in kept}, normalizer)

    def encode(self, caption: str, max_words: int | None = None) -> list[int]:
        """Ids of the caption's words, without `<start>` and `<end>`; unknown words are `<unk>`."""
        return [self._ids.get(stem, UNK) for stem in self.normalizer.stems(caption)[:max_words]]

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Stems up to the first `<end>` or `<pad>`; `<start>` is left out."""
        stems = []
        for i in map(int, ids):
            if i in (END, PAD):
                break
            if i != START:
                stems.append(self.stems[i])
        return stems

    def readable(self, stems: Sequence[str]) -> list[str]:
        """A caption's stems as words; of sentences the first with a capital."""
        words = [self.surface(stem) for stem in stems]
        if not self.normalizer.punctuation:
            return words
        return [capitalized(word) if start else word for word, start in zip(words, sentence_starts(words))]

    def surface(self, stem: str) -> str:
        """A stem as the word people write most often in the training captions."""
        return self._surface.get(stem, stem)

    def to_json(self) -> dict[str, Any]:
        """Everything that `from_json` needs."""
        return {"normalizer": asdict(self.normalizer), "words": self._surface}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Vocabulary:
        """The inverse of `to_json`."""
        return cls(values["words"], Normalizer(**values["normalizer"]))
