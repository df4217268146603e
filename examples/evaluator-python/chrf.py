"""chrF (Popović 2015): how many character n-grams two texts have in common.

Pure Python, so that it can be tested without a host.
"""

import random
from collections import Counter


def statistics(hypothesis, reference, order):
    """For n = 1 to `order`: the n-grams of the hypothesis, of the reference, and those in common, in one
    list. White space does not count."""
    hypothesis, reference = "".join(hypothesis.split()), "".join(reference.split())
    counts = []
    for n in range(1, order + 1):
        ours, theirs = _grams(hypothesis, n), _grams(reference, n)
        common = sum(min(count, theirs[gram]) for gram, count in ours.items() if gram in theirs)
        counts += [sum(ours.values()), sum(theirs.values()), common]
    return counts


def score(counts, beta):
    """The F-score, from 0 to 100, of the counts of one text or of many added up.

    Precision and recall are averaged over the lengths n that both sides have n-grams of."""
    precision = recall = 0.0
    orders = 0
    for ours, theirs, common in zip(counts[0::3], counts[1::3], counts[2::3]):
        if ours and theirs:
            precision += common / ours
            recall += common / theirs
            orders += 1
    if not precision or not recall:
        return 0.0
    precision, recall = precision / orders, recall / orders
    return 100.0 * (1 + beta**2) * precision * recall / (beta**2 * precision + recall)


def corpus(rows, beta):
    """The score of many texts' counts together."""
    return score([sum(column) for column in zip(*rows)], beta)


def interval(rows, statistic, resamples, seed):
    """The 95 % interval of a statistic of rows of numbers, by the percentile bootstrap."""
    if not rows or not resamples:
        return None
    draw = random.Random(seed)
    columns = list(zip(*rows))
    every = range(len(rows))
    drawn = []
    for _ in range(resamples):
        picked = draw.choices(every, k=len(rows))
        drawn.append(statistic([sum(map(column.__getitem__, picked)) for column in columns]))
    drawn.sort()
    return _quantile(drawn, 0.025), _quantile(drawn, 0.975)


def histogram(scores, width=5):
    """How many scores lie in each band of that width."""
    bands = Counter(min(int(value // width), 100 // width - 1) for value in scores)
    return [{"chrf": band * width, "texts": bands[band]} for band in range(100 // width)]


def _grams(text, n):
    return Counter(text[at : at + n] for at in range(len(text) - n + 1))


def _quantile(ordered, q):
    at = q * (len(ordered) - 1)
    below = int(at)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (at - below)
