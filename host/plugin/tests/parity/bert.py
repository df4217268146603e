"""BERT, for everything that it can learn."""

import torch
import torch.nn.functional as F
import transformers

from case import IGNORED, Case, beside, mask, numbers, padded, sequence, tokens_loss


class Bert(Case):
    recipe = "recipe-bert"

    def __init__(self, name, **more):
        super().__init__(name)
        sizes = dict(
            vocab_size=self.rows, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
            hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, max_position_embeddings=60,
            initializer_range=0.15, pad_token_id=0,
        )
        self._config = transformers.BertConfig(**sizes | more)
        # `transformers` gives the padding token's embedding no gradient: no text has it.
        self.before = self.ids((9, 60, 31), lowest=1)

    def config(self):
        return self._config

    def inputs(self):
        pieces = [[0] + [1] * (len(row) - 2) + [2] for row in self.before]
        return [sequence("ids", self.before), beside("pieces", pieces, 0)] + self.targets()

    def run(self, model, rows, kinds=None):
        kinds = None if kinds is None else padded(kinds, 0)
        return model(input_ids=padded(rows, 0), attention_mask=mask(rows), token_type_ids=kinds)

    def outputs(self, model):
        return {"logits": self.run(model, self.before).logits}


class BertWords(Bert):
    kind = transformers.BertForMaskedLM

    def __init__(self, name):
        super().__init__(name)
        hidden = torch.rand(3, 60, generator=self.random) < 0.3
        self.labels = [
            [token if hidden[row, at] else IGNORED for at, token in enumerate(text)]
            for row, text in enumerate(self.before)
        ]

    def targets(self):
        return [beside("labels", self.labels, IGNORED)]

    def loss(self, model):
        return tokens_loss(self.run(model, self.before).logits, padded(self.labels, IGNORED))

    def real(self, output):
        return mask(self.before)


class BertTexts(Bert):
    """Two texts in one sequence: `[CLS] text [SEP] pair [SEP]`."""

    kind = transformers.BertForSequenceClassification
    own = {"text": "first", "text_pair": "second"}
    SECOND = (4, 20, 25)

    def __init__(self, name, labels, dtype, **more):
        super().__init__(name, **more)
        self.labels, self.dtype = torch.tensor(labels), dtype

    def pieces(self):
        texts = zip(self.before, self.SECOND)
        return [
            [0] + [1] * (len(row) - 3 - second) + [2] + [3] * second + [4] for row, second in texts
        ]

    def inputs(self):
        labels = numbers("labels", self.labels, self.dtype)
        return [sequence("ids", self.before), beside("pieces", self.pieces(), 0), labels]

    def logits(self, model):
        kinds = [[int(piece >= 3) for piece in row] for row in self.pieces()]
        return self.run(model, self.before, kinds).logits

    def outputs(self, model):
        return {"logits": self.logits(model)}

    def loss(self, model):
        logits = self.logits(model)
        if self.labels.dtype == torch.int64:
            return F.cross_entropy(logits, self.labels)
        if self._config.problem_type == "multi_label_classification":
            return F.binary_cross_entropy_with_logits(logits, self.labels)
        return F.mse_loss(logits, self.labels)


class BertTokens(Bert):
    """Classes of the tokens between `[CLS]` and `[SEP]`; class 4 does not count."""

    kind = transformers.BertForTokenClassification
    own = {"ignored_label": 4}

    def __init__(self, name):
        super().__init__(name, num_labels=4)
        self.labels = self.ids([len(row) - 2 for row in self.before], highest=5)

    def targets(self):
        return [sequence("labels", self.labels)]

    def loss(self, model):
        counted = [[IGNORED if label == 4 else label for label in row] for row in self.labels]
        labels = padded([[IGNORED] + row + [IGNORED] for row in counted], IGNORED)
        return tokens_loss(self.run(model, self.before).logits, labels)

    def real(self, output):
        return mask(self.before)


class BertSentences(Bert):
    """Mean-pooled sentence embeddings, learnt from pairs in a batch."""

    kind = transformers.BertModel
    own = {"positive": "paraphrase", "similarity_scale": 5.0}
    unused = ["pooler"]

    def __init__(self, name):
        super().__init__(name)
        self.positive = self.ids((5, 22, 40), lowest=1)

    def targets(self):
        return [sequence("positive", self.positive)]

    def embed(self, model, rows):
        states = self.run(model, rows).last_hidden_state
        real = mask(rows).unsqueeze(-1)
        return (states * real).sum(1) / real.sum(1)

    def outputs(self, model):
        return {"embedding": self.embed(model, self.before), "positive": self.embed(model, self.positive)}

    def loss(self, model):
        texts, positives = (F.normalize(self.embed(model, rows)) for rows in (self.before, self.positive))
        return F.cross_entropy(5.0 * texts @ positives.T, torch.arange(3))
