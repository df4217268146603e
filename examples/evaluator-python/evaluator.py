"""The session that the host opens for each evaluation. `componentize-py` looks for it here: the module is
named after the contract's interface, the class after its resource."""

import json

from tenon import columns
from tenon.answer import answers, invalid
from wit_world import exports
from wit_world.exports.evaluator import Metric, Plot, Report, Table
from wit_world.imports import host, model
from wit_world.imports.batches import Batch, Column, ColumnType

import chrf


class Session(exports.evaluator.Session):
    """One evaluation: the counts of every text, until `finish`."""

    def __init__(self, config):
        self.config = config
        self.counts, self.exact, self.scores, self.texts = [], [], [], []

    @classmethod
    @answers
    def open(cls, config):
        config = json.loads(config)
        if config.get("hypothesis") == config["reference"]:
            raise invalid("`hypothesis` and `reference` name one column: it would be compared with itself")
        return cls(config)

    def columns(self):
        hypothesis = self.config.get("hypothesis")
        # A model reads columns of its own, which only its recipe knows: then all of them are needed.
        return [self.config["reference"], hypothesis] if hypothesis else None

    @answers
    def update(self, input):
        references = columns.values(input, self.config["reference"])
        if "hypothesis" in self.config:
            hypotheses = columns.values(input, self.config["hypothesis"])
        else:
            hypotheses = model.generate(
                input,
                model.GenerationOptions(
                    max_tokens=self.config.get("max_tokens"),
                    temperature=None,
                    top_k=None,
                    top_p=None,
                    beams=self.config.get("beams"),
                    seed=None,
                ),
            )
        for hypothesis, reference in zip(hypotheses, references, strict=True):
            if reference is None or hypothesis is None:
                raise invalid("a row has no text to compare; filter such rows out")
            counts = chrf.statistics(hypothesis, reference, self.config["order"])
            self.counts.append(counts)
            self.exact.append([float(hypothesis == reference)])
            self.scores.append(chrf.score(counts, self.config["beta"]))
            self.texts.append((reference, hypothesis))

    @answers
    def finish(self):
        if not self.counts:
            raise invalid("there were no rows to judge by")
        beta, rows = self.config["beta"], len(self.counts)
        seed, resamples = host.random(), self.config["resamples"]
        score = lambda sums: chrf.score(sums, beta)
        share = lambda sums: sums[0] / rows
        return Report(
            metrics=[
                metric("chrf", chrf.corpus(self.counts, beta), chrf.interval(self.counts, score, resamples, seed)),
                metric("exact", share([sum(row[0] for row in self.exact)]), chrf.interval(self.exact, share, resamples, seed)),
            ],
            tables=self.worst(),
            plots=[Plot("chrf by text", json.dumps(plot(self.scores)))],
        )

    def worst(self):
        order = sorted(range(len(self.scores)), key=self.scores.__getitem__)[: self.config["samples"]]
        if not order:
            return []
        rows = [
            column("reference", "UTF8", [self.texts[at][0] for at in order]),
            column("hypothesis", "UTF8", [self.texts[at][1] for at in order]),
            column("chrf", "FLOAT64", [self.scores[at] for at in order]),
        ]
        return [Table("worst", Batch(len(order), rows))]


def metric(name, value, interval):
    low, high = interval or (None, None)
    return Metric(name, value, low, high, higher_is_better=True)


def column(name, kind, rows):
    values, offsets, validity = columns.buffers(kind, rows)
    return Column(name, ColumnType[kind], values, offsets, validity)


def plot(scores):
    """Vega-Lite: how the texts' scores are spread."""
    return {
        "mark": "bar",
        "data": {"values": chrf.histogram(scores)},
        "encoding": {
            "x": {"field": "chrf", "type": "ordinal", "title": "chrF from"},
            "y": {"field": "texts", "type": "quantitative"},
        },
    }
