"""Texts with references, and what sacreBLEU and rouge-score say of them."""

from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenizers import DefaultTokenizer
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.metrics.bleu import _get_tokenizer

from reference import case, column

ENGLISH = (
    "the a cat dog sat on of mat, mat. bird-cage 3.5 1,000 .5 5. 3-4 It's &quot;quoted&quot; &amp; (fine)/ok: yes; "
    "no?! $3.50 U.S.A. end-\nline next\nline <skipped> {b} [c] ~`^_ THE Cat -- 1,,2 a..b 'tis don't #tag x=y 5%"
).split(" ")
CHINESE = list("春眠不觉晓处闻啼鸟夜来风雨声花落知多少，。！？“”—…（）ａ１㐀\U00020000豈⺀〇々") + ["abc", "3.5", " ", "\u3000"]
STRANGE = ["\x1c", "\x85", "\xa0", "\u2009", "é", "É", "ß", "İ", "Σας", "ς", "🙂", "👩‍🚀", "\u200b", "𝒳", "K", "ﬁ", "<", "&lt;", "&amp;lt;",
           "\t", "e\u0301", "٣.٤", "²", "½", "１２", "-", "-\n", ".", ",", "a", "7"]


def text(rng, words, between, most=18):
    return between.join(words[at] for at in rng.integers(0, len(words), size=rng.integers(0, most)))


def changed(rng, reference, words, between):
    """The text with some words left out, others put in, some moved."""
    parts = list(reference) if between == "" else reference.split(between)
    parts = [part for part in parts if rng.random() > 0.15]
    parts = [words[rng.integers(len(words))] if rng.random() < 0.2 else part for part in parts]
    if len(parts) > 3 and rng.random() < 0.3:
        parts[0], parts[-1] = parts[-1], parts[0]
    return between.join(parts)


def corpora(rng):
    for name, words, between in [("english", ENGLISH, " "), ("chinese", CHINESE, ""), ("strange", STRANGE, "")]:
        for references in [1, 3]:
            truth = [text(rng, words, between) for _ in range(40)]
            columns = [truth] + [[changed(rng, t, words, between) for t in truth] for _ in range(references - 1)]
            output = [changed(rng, t, words, between) for t in truth]
            yield f"{name} {references}", output, columns
    yield "nothing", ["", "", ""], [["a b c d e", "", "x"]]
    yield "no references' words", ["a b c d", "e f"], [["", ""]]
    yield "nothing in common", ["a b c d e f", "g h i j"], [["u v w x y z", "q r s t"]]
    yield "short", ["a", "b b"], [["a", "b b"]]
    yield "repeated", ["the the the the the the the"], [["the cat is on the mat"]]


class Tokens:
    """sacreBLEU's tokens for rouge-score."""

    def __init__(self, name, lowercase):
        self.tokenizer, self.lowercase = _get_tokenizer(name)(), lowercase

    def tokenize(self, text):
        text = text.lower() if self.lowercase else text
        return self.tokenizer(text.rstrip()).split()


def scores(output, references, config):
    lowercase = config["lowercase"]
    bleu = BLEU(
        tokenize=config["tokenize"],
        lowercase=lowercase,
        smooth_method=config["smoothing"],
        smooth_value=config.get("smooth_value"),
        max_ngram_order=config["max_order"],
        force=True,
    ).corpus_score(output, references)
    expected = {"bleu": bleu.score, "brevity_penalty": bleu.bp}
    for name, words in [("chrf", 0), ("chrf_pp", 2)]:
        chrf = CHRF(
            char_order=config["chrf_order"], word_order=words, beta=config["chrf_beta"], lowercase=lowercase
        )
        expected[name] = chrf.corpus_score(output, references).score
    latin = config["rouge_tokens"] == "latin"
    tokens = DefaultTokenizer(use_stemmer=False) if latin else Tokens(config["tokenize"], lowercase)
    kinds = {"rouge_1": "rouge1", "rouge_2": "rouge2", "rouge_4": "rouge4", "rouge_l": "rougeL"}
    scorer = RougeScorer(list(kinds.values()), tokenizer=tokens)
    texts = [scorer.score_multi(list(truth), text) for text, *truth in zip(output, *references)]
    for name, kind in kinds.items():
        expected[name] = sum(of[kind].fmeasure for of in texts) / len(texts)
    return expected


def cases(rng):
    smoothings = [("exp", None), ("none", None), ("floor", None), ("floor", 0.5), ("add-k", None), ("add-k", 0.3)]
    at = 0
    for name, output, references in corpora(rng):
        for tokenize in ["char", "13a", "zh", "none"]:
            smoothing, value = smoothings[at % len(smoothings)]
            config = {
                "output": "out",
                "references": [f"ref {at}" for at in range(len(references))],
                "tokenize": tokenize,
                "lowercase": at % 3 == 1,
                "max_order": [4, 1, 2, 6][at % 4],
                "smoothing": smoothing,
                "chrf_order": [6, 3][at % 5 == 4],
                "chrf_beta": [2, 1, 3][at % 3],
                "rouge": ["1", "2", "4", "L"],
                "rouge_tokens": ["same", "latin"][at % 2],
                "distinct": [],
                "resamples": 20,
            } | ({} if value is None else {"smooth_value": value})
            columns = [column("out", "utf8", output)]
            columns += [column(name, "utf8", of) for name, of in zip(config["references"], references)]
            at += 1
            yield case(f"{name}, {tokenize}, {smoothing}", config, columns, scores(output, references, config))
