"""Scores of captions on plain lists: the official ImageCLEFmed Caption 2021 score and the standard metrics.

All caption scores see the official tokens: lower-cased, punctuation and stop words out, stemmed. The paper's models
generate such tokens, and one way of cutting words keeps the figures of one table comparable with each other (they are
not comparable with COCO figures, which score running text).

In the docstrings below, N is the number of images and a caption is one string. There is one reference an image.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from nltk.translate.meteor_score import single_meteor_score
from rouge_score.rouge_scorer import RougeScorer

from medcap_tf.errors import InputError
from medcap_tf.evaluation.metrics.sufficient_statistics import SufficientStatistics, check_pairs, mean_of
from medcap_tf.text import Normalizer

NGrams = Mapping[tuple[Any, ...], float]  # of words, or of their IDs

MAX_ORDER = 4  # BLEU and CIDEr look at n-grams of 1 to 4 words
CIDER_SIGMA = 6.0
CIDER_FACTOR = 10.0

_CIDER_DOUBT = "it weighs n-grams of 1 to 4 words by how few of all references have them"
_METEOR_DOUBT = "it takes half from a single word, even the right one"

_OFFICIAL = Normalizer(stemmer="snowball", remove_stop_words=True)


class CutCaption(NamedTuple):
    """A caption's tokens, and how often it has each n-gram of 1 to 4 of them."""

    tokens: list[Any]
    ngrams: list[Counter[tuple[Any, ...]]]


def caption_scores(references: Sequence[str], candidates: Sequence[str]) -> dict[str, float]:
    """All caption scores of N candidates against N references, on the official tokens (see the module docstring).

    Returns:
        `imageclef_2021_bleu`, `bleu_1` .. `bleu_4` (corpus BLEU), `rouge_1`, `rouge_l`, `cider` and `meteor`. All are
        in 0..1 but `cider`, which is in 0..10. ROUGE (F1), CIDEr-D and METEOR (exact words and stems, no synonyms)
        are means over the images; an image where both captions have no token left counts 1 in the official score and
        0 in these.

    Raises:
        InputError: no captions, or different numbers of references and candidates.
    """
    return {name: part.score() for name, part in caption_parts(references, candidates).items()}


def caption_parts(references: Sequence[str], candidates: Sequence[str]) -> dict[str, SufficientStatistics]:
    """The scores of `caption_scores` by image, to score subgroups of images and to resample.

    CIDEr-D weighs n-grams by their document frequencies in **all** N references: a subgroup's or a resample's value
    keeps those weights, so that an image is worth the same in each of them.

    Raises:
        InputError: no captions, or different numbers of references and candidates.
    """
    check_pairs(references, candidates, "caption")
    return corpus_parts(*([official_tokens(caption) for caption in side] for side in (references, candidates)))


def corpus_parts(
    references: Sequence[Sequence[str]], candidates: Sequence[Sequence[str]]
) -> dict[str, SufficientStatistics]:
    """What `caption_parts` returns, of N captions that are cut into tokens already."""
    truth, guess = ([cut_caption(tokens) for tokens in side] for side in (references, candidates))
    overlaps = np.array([_overlap(r, c) for r, c in zip(truth, guess)], float)
    matches, totals, lengths = np.split(overlaps, [MAX_ORDER, 2 * MAX_ORDER], axis=1)
    rouge = RougeScorer(["rouge1", "rougeL"], tokenizer=_AlreadyCut())
    cider = CiderD(truth)
    ciders = [cider.score(image, candidate) for image, candidate in enumerate(guess)]
    has_words = [float(bool(r.tokens)) for r in truth]
    empty = "some have no word left without punctuation and stop words"
    rouges = [rouge.score(" ".join(r.tokens), " ".join(c.tokens)) for r, c in zip(truth, guess)]
    return {
        "imageclef_2021_bleu": mean_of([_bleu_of_nltk_3_2_2(row) for row in overlaps], has_words, 1, empty),
        **{
            f"bleu_{n}": SufficientStatistics(
                np.hstack([matches[:, :n], totals[:, :n], lengths]), _corpus_bleu, _too_short
            )
            for n in range(1, MAX_ORDER + 1)
        },
        "rouge_1": mean_of([scores["rouge1"].fmeasure for scores in rouges], has_words, 1, empty),
        "rouge_l": mean_of([scores["rougeL"].fmeasure for scores in rouges], has_words, 1, empty),
        "cider": mean_of(ciders, [cider.best(image) for image in range(len(truth))], 10, _CIDER_DOUBT),
        "meteor": mean_of(
            [_meteor(r.tokens, c.tokens) for r, c in zip(truth, guess)],
            [_best_meteor(len(r.tokens)) for r in truth],
            1,
            _METEOR_DOUBT,
        ),
    }


def imageclef_2021_bleu(references: Sequence[str], candidates: Sequence[str]) -> float:
    """The official ImageCLEFmed Caption 2021 score of N candidates against N references, in 0..1.

    The mean over the images of a sentence BLEU (weights 4 x 0.25, no smoothing) by the rule of NLTK 3.2.2, the
    version the organizers ran: at the first n-gram order with no match, that order and all higher ones are dropped,
    and the orders that remain keep the weight 0.25 each. The rule flatters: one right word of eight scores 0.59. So
    the figure is for comparison with the published table alone; `caption_scores` has the others.

    Raises:
        InputError: no captions, or different numbers of references and candidates.
    """
    check_pairs(references, candidates, "caption")
    pairs = zip(map(official_tokens, references), map(official_tokens, candidates))
    return mean_of([sentence_bleu_of_nltk_3_2_2(reference, candidate) for reference, candidate in pairs]).score()


def sentence_bleu_of_nltk_3_2_2(reference: Sequence[str], candidate: Sequence[str]) -> float:
    """Sentence BLEU of one image's tokens, in 0..1, by the rule that `imageclef_2021_bleu` describes."""
    return _bleu_of_nltk_3_2_2(_overlap(cut_caption(reference), cut_caption(candidate)))


def official_tokens(caption: str) -> list[str]:
    """Cut one caption as the official 2021 script does, whatever a model's own settings are.

    Lower case; every character of `string.punctuation` deleted **before** the words are cut ("t1-weighted" becomes
    "t1weighted", "don't" the "dont" that no stop word matches); NLTK's word tokens; English stop words out; Snowball
    stems.
    """
    return _OFFICIAL.stems(caption)


def caption_statistics(candidates: Sequence[str], training: Sequence[str]) -> dict[str, float]:
    """How long, varied and new N captions are, by their official tokens; right or wrong does not matter here.

    Args:
        candidates: what was generated, one caption an image.
        training: the captions that were learned from.

    Returns:
        `mean_length` (tokens), `distinct_words` (how many different tokens all captions use), `distinct_captions`
        (different captions as a share of N) and `unseen_captions` (share of the N captions that no training caption
        equals, token by token).

    Raises:
        InputError: no captions.
    """
    if not candidates:
        raise InputError("statistics of captions need at least one caption: the list is empty")
    cut = [tuple(official_tokens(caption)) for caption in candidates]
    known = {tuple(official_tokens(caption)) for caption in set(training)}
    return {
        "mean_length": sum(map(len, cut)) / len(cut),
        "distinct_words": float(len({word for caption in cut for word in caption})),
        "distinct_captions": len(set(cut)) / len(cut),
        "unseen_captions": sum(caption not in known for caption in cut) / len(cut),
    }


def cut_caption(tokens: Sequence[Any]) -> CutCaption:
    """Count the n-grams of a caption's tokens, words or their IDs."""
    return CutCaption(list(tokens), [_count_ngrams(tokens, order) for order in range(1, MAX_ORDER + 1)])


def _count_ngrams(tokens: Sequence[Any], order: int) -> Counter[tuple[Any, ...]]:
    return Counter(tuple(tokens[start : start + order]) for start in range(len(tokens) - order + 1))


def _overlap(reference: CutCaption, candidate: CutCaption) -> list[int]:
    """[10]: the candidate's n-grams that match (clipped), all it has, for n = 1..4 each; both lengths."""
    pairs = list(zip(reference.ngrams, candidate.ngrams))
    matches = [sum((expected & counts).values()) for expected, counts in pairs]
    totals = [sum(counts.values()) for _, counts in pairs]
    return [*matches, *totals, len(reference.tokens), len(candidate.tokens)]


def _bleu_of_nltk_3_2_2(overlap: Sequence[float]) -> float:
    """Sentence BLEU of one image's `_overlap`, in 0..1, by the rule that `imageclef_2021_bleu` describes."""
    matches, totals, (wanted, words) = overlap[:MAX_ORDER], overlap[MAX_ORDER:-2], overlap[-2:]
    if not wanted and not words:
        return 1.0
    if not matches[0]:
        return 0.0
    kept = next((order for order in range(MAX_ORDER) if not matches[order]), MAX_ORDER)
    logs = [math.log(m / t) for m, t in zip(matches[:kept], totals)]
    return min(1.0, math.exp(1 - wanted / words)) * math.exp(sum(logs) / MAX_ORDER)


def _corpus_bleu(sums: np.ndarray) -> np.ndarray:
    """Corpus BLEU without smoothing (Papineni et al. 2002): float64 [..., 2 n + 2] -> [...]; 0 where an order has no
    match.

    Counted here, not by NLTK: NLTK counts one n-gram in a candidate too short to have any, so that copies of short
    references would stay below 1.
    """
    order = sums.shape[-1] // 2 - 1
    matches, totals, wanted, words = sums[..., :order], sums[..., order:-2], sums[..., -2], sums[..., -1]
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.exp(np.log(matches / totals).mean(-1))
        brevity_penalty = np.exp(np.minimum(0, 1 - wanted / words))
    return np.where((matches > 0).all(-1), brevity_penalty * precision, 0.0)


def _too_short(values: np.ndarray) -> str:
    """Why BLEU of n-grams says nothing, of `_corpus_bleu`'s statistics [N, 2 n + 2]; empty where it says something."""
    order = values.shape[1] // 2 - 1
    words = "a word" if order == 1 else f"{order} words"
    for column, name, reason in (
        (-2, "reference", "whatever is generated"),
        (-1, "caption", "however right the captions are"),
    ):
        long_enough = int((values[:, column] >= order).sum())
        if not long_enough:
            return f"no {name} has {words}, so that it is 0 {reason}"
        if long_enough < 0.1 * len(values):
            return f"{long_enough} of {len(values)} {name}s have {words}; the others do not count"
    return ""


class _AlreadyCut:
    """The tokenizer `rouge-score` asks for, for captions whose tokens are joined by spaces."""

    def tokenize(self, text: str) -> list[str]:
        return text.split()


class _NoStems:
    """Stands where METEOR stems words: the tokens are stems already, and a stem of a stem would match too much."""

    def stem(self, word: str) -> str:
        return word


class _NoSynonyms:
    """Stands where METEOR asks WordNet, whose data are not shipped: no word has a synonym."""

    def synsets(self, word: str) -> list[str]:
        return []


def _meteor(reference: Sequence[str], candidate: Sequence[str]) -> float:
    """METEOR (Lavie and Agarwal 2007) of one image with its exact and stem matches, which are one on stems; without
    WordNet it has no synonyms, so it lies below METEOR scores that use them."""
    return single_meteor_score(reference, candidate, stemmer=_NoStems(), wordnet=_NoSynonyms())


def _best_meteor(words: int) -> float:
    """METEOR of a caption beside itself: one chunk of so many words, whose penalty is 0.5 * (1 / words) ** 3."""
    return 1 - 0.5 / words**3 if words else 0.0


class CiderD:
    """CIDEr-D (Vedantam et al. 2015, section 5), in 0..10, by the document frequencies of all references.

    For each order n, the cosine of the two TF-IDF vectors g_n with the candidate's counts clipped to the reference's,
    times a Gaussian penalty on the difference of the lengths; then the mean over n = 1..4, times 10. An n-gram that
    every reference has weighs nothing, and a caption under four words has no 4-grams to score with.
    """

    def __init__(self, references: Sequence[CutCaption]):
        """`references`: one an image."""
        self._documents = Counter(ngram for reference in references for ngrams in reference.ngrams for ngram in ngrams)
        self._images = len(references)
        self._wanted = [(len(one.tokens), [self._tf_idf(ngrams) for ngrams in one.ngrams]) for one in references]

    def score(self, image: int, candidate: CutCaption) -> float:
        """A candidate beside the reference of an image, by its number."""
        length, wanted = self._wanted[image]
        penalty = math.exp(-((len(candidate.tokens) - length) ** 2) / (2 * CIDER_SIGMA**2))
        similarities = [
            _clipped_cosine(self._tf_idf(counts), weights) for weights, counts in zip(wanted, candidate.ngrams)
        ]
        return CIDER_FACTOR * penalty * math.fsum(similarities) / MAX_ORDER

    def best(self, image: int) -> float:
        """The reference beside itself: less than 10 where it has an order without n-grams, or none with a weight."""
        return CIDER_FACTOR * sum(any(weights.values()) for weights in self._wanted[image][1]) / MAX_ORDER

    def _tf_idf(self, counts: Counter[tuple[Any, ...]]) -> NGrams:
        frequencies, images = self._documents, self._images
        return {ngram: count * math.log(images / max(1, frequencies[ngram])) for ngram, count in counts.items()}


def _clipped_cosine(candidate: NGrams, reference: NGrams) -> float:
    norms = math.hypot(*candidate.values()) * math.hypot(*reference.values())
    shared = sum(min(candidate.get(ngram, 0.0), weight) * weight for ngram, weight in reference.items())
    return shared / norms if norms else 0.0
