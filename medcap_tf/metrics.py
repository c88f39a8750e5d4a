"""Scores of captions and concepts on plain lists: the official ImageCLEFmed Caption 2021 score and its sober company.

All caption scores see the official tokens: lower-cased, punctuation and stop words out, stemmed. The paper's models
write such tokens, and one way of cutting words keeps the figures of one table comparable with each other (they are
not comparable with COCO figures, which score running text).

In the docstrings below, N is the number of images and a caption is one string. There is one reference an image.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from nltk.translate.meteor_score import single_meteor_score
from rouge_score.rouge_scorer import RougeScorer

from medcap_tf.errors import InputError
from medcap_tf.text import Normalizer

Tokens = Sequence[str]
NGrams = Mapping[tuple[str, ...], float]

MAX_ORDER = 4  # BLEU and CIDEr look at n-grams of 1 to 4 words
CIDER_SIGMA = 6.0
CIDER_FACTOR = 10.0

_OFFICIAL = Normalizer(stemmer="snowball", remove_stop_words=True)


def caption_scores(references: Sequence[str], candidates: Sequence[str]) -> dict[str, float]:
    """All caption scores of N candidates against N references, on the official tokens (see the module docstring).

    Returns:
        `imageclef_2021_bleu`, `bleu_1` .. `bleu_4` (corpus BLEU), `rouge_l`, `cider` and `meteor`. All are in 0..1 but
        `cider`, which is in 0..10. ROUGE-L (F1), CIDEr-D and METEOR are means over the images; an image where both
        captions have no token left counts 1 in the official score and 0 in these.

    Raises:
        InputError: no captions, or different numbers of references and candidates.
    """
    _check_pairs(references, candidates, "caption")
    truth = [official_tokens(caption) for caption in references]
    guess = [official_tokens(caption) for caption in candidates]
    return {
        "imageclef_2021_bleu": _mean([_bleu_of_nltk_3_2_2(r, c) for r, c in zip(truth, guess)]),
        **_corpus_bleu(truth, guess),
        "rouge_l": _rouge_l(truth, guess),
        "cider": _cider_d(truth, guess),
        "meteor": _meteor(truth, guess),
    }


def imageclef_2021_bleu(references: Sequence[str], candidates: Sequence[str]) -> float:
    """The official ImageCLEFmed Caption 2021 score of N candidates against N references, in 0..1.

    The mean over the images of a sentence BLEU (weights 4 x 0.25, no smoothing) by the rule of NLTK 3.2.2, the
    version the organisers ran: at the first n-gram order with no match, that order and all higher ones are dropped,
    and the orders that remain keep the weight 0.25 each. The rule flatters: one right word of eight scores 0.59. So
    the figure is for comparison with the published table alone; `caption_scores` has the others.

    Raises:
        InputError: no captions, or different numbers of references and candidates.
    """
    _check_pairs(references, candidates, "caption")
    pairs = zip(references, candidates)
    return _mean([_bleu_of_nltk_3_2_2(official_tokens(r), official_tokens(c)) for r, c in pairs])


def concept_f1(references: Sequence[Collection[str]], predictions: Sequence[Collection[str]]) -> float:
    """The official concept score of N images, in 0..1.

    F1 of each image over the union of its true and predicted CUIs, upper-cased; the mean is over the images that have
    at least one true CUI, so what is predicted for the others costs nothing.

    Raises:
        InputError: no images, different numbers of references and predictions, or no image with a true CUI.
    """
    _check_pairs(references, predictions, "concept set")
    scores = []
    for true, predicted in zip(references, predictions):
        wanted, found = {cui.upper() for cui in true}, {cui.upper() for cui in predicted}
        if wanted:
            scores.append(2 * len(wanted & found) / (len(wanted) + len(found)))
    if not scores:
        raise InputError(
            f"concept F1 needs an image with at least one true concept: none of the {len(references)} images has one"
        )
    return _mean(scores)


def official_tokens(caption: str) -> list[str]:
    """Cut one caption as the official 2021 script does, whatever a model's own settings are.

    Lower case; every character of `string.punctuation` deleted **before** the words are cut ("t1-weighted" becomes
    "t1weighted", "don't" the "dont" that no stop word matches); NLTK's word tokens; English stop words out; Snowball
    stems.
    """
    return _OFFICIAL.stems(caption)


def _bleu_of_nltk_3_2_2(reference: Tokens, candidate: Tokens) -> float:
    """Sentence BLEU of one candidate, in 0..1, by the rule that `imageclef_2021_bleu` describes."""
    if not reference and not candidate:
        return 1.0
    log_precisions = []
    for order in range(1, MAX_ORDER + 1):
        wanted, found = _count_ngrams(reference, order), _count_ngrams(candidate, order)
        matches = sum((wanted & found).values())
        if not matches:
            break
        log_precisions.append(math.log(matches / sum(found.values())))
    if not log_precisions:
        return 0.0
    brevity_penalty = min(1.0, math.exp(1 - len(reference) / len(candidate)))
    return brevity_penalty * math.exp(sum(log_precisions) / MAX_ORDER)


def _corpus_bleu(references: Sequence[Tokens], candidates: Sequence[Tokens]) -> dict[str, float]:
    """Corpus BLEU-1 to BLEU-4 without smoothing (Papineni et al. 2002); 0 where the highest order has no match.

    Counted here, not by NLTK: NLTK counts one n-gram in a candidate too short to have any, so that copies of short
    references would stay below 1.
    """
    matches, totals = [0] * MAX_ORDER, [0] * MAX_ORDER
    for reference, candidate in zip(references, candidates):
        for order in range(MAX_ORDER):
            wanted, found = _count_ngrams(reference, order + 1), _count_ngrams(candidate, order + 1)
            matches[order] += sum((wanted & found).values())
            totals[order] += sum(found.values())
    wanted_words, words = sum(map(len, references)), sum(map(len, candidates))
    brevity_penalty = min(1.0, math.exp(1 - wanted_words / words)) if words else 0.0
    scores = {}
    for order in range(1, MAX_ORDER + 1):
        logs = [math.log(m / t) for m, t in zip(matches[:order], totals) if m]
        scores[f"bleu_{order}"] = brevity_penalty * math.exp(sum(logs) / order) if len(logs) == order else 0.0
    return scores


class _AlreadyCut:
    """The tokenizer `rouge-score` asks for, for captions whose tokens are joined by spaces."""

    def tokenize(self, text: str) -> list[str]:
        return text.split()


def _rouge_l(references: Sequence[Tokens], candidates: Sequence[Tokens]) -> float:
    """Mean F1 of the longest common subsequence (Lin 2004), precision and recall weighing the same."""
    scorer = RougeScorer(["rougeL"], tokenizer=_AlreadyCut())
    pairs = zip(references, candidates)
    return _mean([scorer.score(" ".join(r), " ".join(c))["rougeL"].fmeasure for r, c in pairs])


class _NoStems:
    """Stands where METEOR stems words: the tokens are stems already, and a stem of a stem would match too much."""

    def stem(self, word: str) -> str:
        return word


class _NoSynonyms:
    """Stands where METEOR asks WordNet, whose data are not shipped: no word has a synonym."""

    def synsets(self, word: str) -> list[str]:
        return []


def _meteor(references: Sequence[Tokens], candidates: Sequence[Tokens]) -> float:
    """Mean METEOR (Lavie and Agarwal 2007), matching stems alone: no synonyms."""
    pairs = zip(references, candidates)
    return _mean([single_meteor_score(r, c, stemmer=_NoStems(), wordnet=_NoSynonyms()) for r, c in pairs])


def _cider_d(references: Sequence[Tokens], candidates: Sequence[Tokens]) -> float:
    """Mean CIDEr-D (Vedantam et al. 2015, section 5), in 0..10; document frequencies are those of the references.

    For each order n, the cosine of the two TF-IDF vectors g_n with the candidate's counts clipped to the reference's,
    times a Gaussian penalty on the difference of the lengths; then the mean over n = 1..4, times 10. An n-gram that
    every reference has weighs nothing, and a caption under four words has no 4-grams to score with.
    """
    counts = [[_count_ngrams(reference, order) for order in range(1, MAX_ORDER + 1)] for reference in references]
    documents = Counter(ngram for orders in counts for ngrams in orders for ngram in ngrams)
    scores = []
    for reference, candidate, orders in zip(references, candidates, counts):
        penalty = math.exp(-((len(candidate) - len(reference)) ** 2) / (2 * CIDER_SIGMA**2))
        similarities = [
            _clipped_cosine(
                _tf_idf(_count_ngrams(candidate, order), documents, len(references)),
                _tf_idf(wanted, documents, len(references)),
            )
            for order, wanted in enumerate(orders, start=1)
        ]
        scores.append(CIDER_FACTOR * penalty * _mean(similarities))
    return _mean(scores)


def _tf_idf(counts: Counter[tuple[str, ...]], documents: Counter[tuple[str, ...]], images: int) -> NGrams:
    return {ngram: count * math.log(images / max(1, documents[ngram])) for ngram, count in counts.items()}


def _clipped_cosine(candidate: NGrams, reference: NGrams) -> float:
    norms = math.hypot(*candidate.values()) * math.hypot(*reference.values())
    shared = sum(min(candidate.get(ngram, 0.0), weight) * weight for ngram, weight in reference.items())
    return shared / norms if norms else 0.0


def _count_ngrams(tokens: Tokens, order: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[start : start + order]) for start in range(len(tokens) - order + 1))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _check_pairs(references: Sequence[object], candidates: Sequence[object], what: str) -> None:
    if isinstance(references, str) or isinstance(candidates, str):
        raise InputError(f"scores need a list with one {what} an image, but a single string was given")
    if len(references) != len(candidates):
        raise InputError(
            f"scores need one predicted {what} for each reference: {len(references)} references, "
            f"{len(candidates)} predictions"
        )
    if not references:
        raise InputError(f"scores need at least one {what}: both lists are empty")
