"""The architectures and variants that are compared: tiny ones, each with inputs of several lengths."""

import json
import zlib

import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import load_file, save_file

IGNORED = -100


def padded(rows, fill):
    """int64 [rows, longest]."""
    width = max(map(len, rows))
    return torch.tensor([row + [fill] * (width - len(row)) for row in rows])


def mask(rows):
    return padded([[1] * len(row) for row in rows], 0)


def tokens_loss(logits, labels):
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)


class Case:
    """A checkpoint of `transformers` and something to feed it."""

    # Tokens of the tokenizer; models have some rows more.
    vocabulary = 29
    rows = 32
    recipe = None
    kind = None
    # The host's configuration beside `config.json`.
    own = {}
    # Names in the checkpoint that the recipe has no use for, and that `transformers` makes itself.
    unused = []
    # The sequence that grows in generation.
    generates = None

    def __init__(self, name):
        self.name = name
        self.seed = zlib.crc32(name.encode())
        self.random = torch.Generator().manual_seed(self.seed)

    def ids(self, lengths, lowest=0, highest=None):
        return [
            torch.randint(lowest, highest or self.vocabulary, (length,), generator=self.random).tolist()
            for length in lengths
        ]

    def model(self):
        torch.manual_seed(self.seed)
        return self.kind(self.config())

    def save(self, model, folder):
        model.save_pretrained(folder)

    def load(self, folder):
        model, info = self.kind.from_pretrained(folder, output_loading_info=True)

        def names(key):
            return sorted(name for name in info[key] if not any(part in name for part in self.unused))

        return model.float(), names("missing_keys"), names("unexpected_keys")

    def host_name(self, name):
        return name

    def real(self, output):
        """Which tokens of an output are no padding; nothing for outputs that are not of tokens."""
        return None

    def describe(self):
        return {
            "recipe": self.recipe,
            "own": self.own,
            "vocabulary": self.vocabulary,
            "inputs": self.inputs(),
            "unused": self.unused,
            "generates": self.generates,
        }


def sequence(name, rows):
    return {"name": name, "rows": rows, "fill": 0, "sequence": True}


def beside(name, rows, fill):
    return {"name": name, "rows": rows, "fill": fill, "sequence": False}


def numbers(name, tensor, dtype):
    return {"name": name, "shape": list(tensor.shape), "values": tensor.flatten().tolist(), "dtype": dtype}


class Causal(Case):
    """A decoder: every token but the last predicts the next one."""

    generates = "ids"

    def __init__(self, name, recipe, kind, config, lengths=(7, 70, 33), own=None):
        super().__init__(name)
        self.recipe, self.kind, self.own = recipe, kind, own or {}
        self._config = config
        texts = self.ids(lengths)
        self.before = [text[:-1] for text in texts]
        self.labels = [text[1:] for text in texts]

    def config(self):
        return self._config

    def inputs(self):
        return [sequence("ids", self.before), beside("labels", self.labels, IGNORED)]

    def logits(self, model):
        return model(input_ids=padded(self.before, 0), attention_mask=mask(self.before), use_cache=False).logits

    def outputs(self, model):
        return {"logits": self.logits(model)}

    def loss(self, model):
        return tokens_loss(self.logits(model), padded(self.labels, IGNORED))

    def real(self, output):
        return mask(self.before)


class Gpt2(Causal):
    """The hub's own GPT-2 has names without the prefix that `save_pretrained` writes."""

    def __init__(self, name, **more):
        sizes = dict(
            vocab_size=self.rows, n_layer=2, n_embd=32, n_head=4, n_positions=80, initializer_range=0.15,
            embd_pdrop=0.0, attn_pdrop=0.0, resid_pdrop=0.0, bos_token_id=0, eos_token_id=0,
        )
        config = transformers.GPT2Config(**sizes | more)
        super().__init__(name, "recipe-gpt", transformers.GPT2LMHeadModel, config)

    def host_name(self, name):
        return name.removeprefix("transformer.")

    def save(self, model, folder):
        super().save(model, folder)
        file = folder / "model.safetensors"
        weights = {self.host_name(name): value for name, value in load_file(file).items()}
        save_file(weights, file, metadata={"format": "pt"})


def llama(name, kind="Llama", lengths=(7, 70, 33), **more):
    sizes = dict(
        vocab_size=Case.rows, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=80, initializer_range=0.15, attention_dropout=0.0,
        bos_token_id=0, eos_token_id=0, pad_token_id=None,
    )
    config = getattr(transformers, f"{kind}Config")(**sizes | more)
    return Causal(name, "recipe-llama", getattr(transformers, f"{kind}ForCausalLM"), config, lengths)


class T5(Case):
    recipe = "recipe-t5"
    kind = transformers.T5ForConditionalGeneration
    generates = "target"

    def __init__(self, name, **more):
        super().__init__(name)
        sizes = dict(
            vocab_size=self.rows, d_model=32, d_kv=6, d_ff=48, num_layers=2, num_decoder_layers=3, num_heads=4,
            relative_attention_num_buckets=8, relative_attention_max_distance=20, dropout_rate=0.0,
            decoder_start_token_id=0, pad_token_id=0, eos_token_id=1,
        )
        self._config = transformers.T5Config(**sizes | more)
        self.source = self.ids((9, 50, 3))
        texts = self.ids((6, 8, 40))
        self.before = [text[:-1] for text in texts]
        self.labels = [text[1:] for text in texts]

    def config(self):
        return self._config

    def inputs(self):
        return [
            sequence("source", self.source),
            sequence("target", self.before),
            beside("labels", self.labels, IGNORED),
        ]

    def logits(self, model):
        return model(
            input_ids=padded(self.source, 0), attention_mask=mask(self.source),
            decoder_input_ids=padded(self.before, 0), decoder_attention_mask=mask(self.before), use_cache=False,
        ).logits

    def outputs(self, model):
        return {"logits": self.logits(model)}

    def loss(self, model):
        return tokens_loss(self.logits(model), padded(self.labels, IGNORED))

    def real(self, output):
        return mask(self.before)


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


class ResNet(Case):
    recipe = "recipe-resnet"
    kind = transformers.ResNetForImageClassification
    own = {"image_size": [40, 36], "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.25]}
    unused = ["num_batches_tracked"]

    def __init__(self, name, **more):
        super().__init__(name)
        sizes = dict(num_channels=3, embedding_size=8, hidden_sizes=[8, 16], depths=[2, 1], num_labels=5)
        self._config = transformers.ResNetConfig(**sizes | more)
        self.image = torch.randint(0, 256, (6, 3, 40, 36), generator=self.random)
        self.labels = torch.randint(0, 5, (6,), generator=self.random)

    def config(self):
        return self._config

    def inputs(self):
        return [numbers("image", self.image, "uint8"), numbers("labels", self.labels, "int64")]

    def logits(self, model):
        of = lambda name: torch.tensor(self.own[name]).view(3, 1, 1)
        return model(pixel_values=(self.image / 255 - of("image_mean")) / of("image_std")).logits

    def outputs(self, model):
        return {"logits": self.logits(model)}

    def loss(self, model):
        return F.cross_entropy(self.logits(model), self.labels)


class Table(torch.nn.Module):
    """What `tenon/mlp` is, in PyTorch's own layers."""

    def __init__(self, outputs):
        super().__init__()
        self.normalise = torch.nn.BatchNorm1d(4)
        self.embeddings = torch.nn.ModuleList([torch.nn.Embedding(5, 3), torch.nn.Embedding(4, 2)])
        self.layers = torch.nn.ModuleList([torch.nn.Linear(9, 16), torch.nn.Linear(16, 12)])
        self.head = torch.nn.Linear(12, outputs)

    def forward(self, numeric, categories):
        parts = [embedding(ids) for embedding, ids in zip(self.embeddings, categories)]
        x = torch.cat([self.normalise(numeric), *parts], 1)
        for layer in self.layers:
            x = F.gelu(layer(x))
        return self.head(x)


class Mlp(Case):
    recipe = "recipe-mlp"
    unused = ["num_batches_tracked"]

    def __init__(self, name, task):
        super().__init__(name)
        self.regression = task == "regression"
        self.own = {
            "numeric": ["age", {"column": "others", "size": 3}],
            "categorical": [{"column": "city", "count": 5}, {"column": "kind", "count": 4, "width": 2}],
            "hidden_sizes": [16, 12], "hidden_act": "gelu", "dropout": 0.0, "task": task,
            "num_labels": 1 if self.regression else 3, "label_mean": 30.0, "label_std": 4.0,
        }
        self.numeric = 5 * torch.randn(9, 4, generator=self.random) + 2
        self.categories = [torch.randint(0, n, (9,), generator=self.random) for n in (5, 4)]
        if self.regression:
            self.labels = 30 + 4 * torch.randn(9, 1, generator=self.random)
        else:
            self.labels = torch.randint(0, 3, (9,), generator=self.random)

    def model(self):
        torch.manual_seed(self.seed)
        return Table(self.own["num_labels"])

    def save(self, model, folder):
        save_file(model.state_dict(), folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps({}))

    def load(self, folder):
        model = Table(self.own["num_labels"])
        missing, unexpected = model.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
        return model, [name for name in missing if "num_batches" not in name], unexpected

    def inputs(self):
        labels = numbers("labels", self.labels, "float32" if self.regression else "int64")
        return [
            numbers("numeric.0", self.numeric[:, :1], "float32"),
            numbers("numeric.1", self.numeric[:, 1:], "float32"),
            numbers("categorical.0", self.categories[0], "int64"),
            numbers("categorical.1", self.categories[1], "int64"),
            labels,
        ]

    def outputs(self, model):
        out = model(self.numeric, self.categories)
        return {"value": 30 + 4 * out} if self.regression else {"logits": out}

    def loss(self, model):
        out = model(self.numeric, self.categories)
        if self.regression:
            return F.mse_loss(out, (self.labels - 30) / 4)
        return F.cross_entropy(out, self.labels)


def scaled(name, **scaling):
    """A context of 16 that became 80: most of the longest text lies beyond."""
    return lambda: llama(name, rope_theta=1000.0, rope_scaling=scaling)


OLD = {"original_max_position_embeddings": 16}
TYPES = ["sliding_attention", "full_attention"]

CASES = {
    "gpt2": lambda: Gpt2("gpt2"),
    "gpt2-variants": lambda: Gpt2(
        "gpt2-variants", n_inner=40, activation_function="relu", scale_attn_by_inverse_layer_idx=True,
        layer_norm_epsilon=1e-3,
    ),
    "llama": lambda: llama("llama"),
    "llama-variants": lambda: llama(
        "llama-variants", attention_bias=True, mlp_bias=True, head_dim=12, tie_word_embeddings=True,
        num_key_value_heads=4, hidden_act="gelu", rms_norm_eps=1e-3,
    ),
    "llama-linear": scaled("llama-linear", rope_type="linear", factor=5.0),
    "llama-dynamic": scaled("llama-dynamic", rope_type="dynamic", factor=5.0),
    "llama-llama3": scaled(
        "llama-llama3", rope_type="llama3", factor=5.0, low_freq_factor=1.0, high_freq_factor=4.0, **OLD
    ),
    "llama-yarn": scaled("llama-yarn", rope_type="yarn", factor=5.0, beta_fast=4.0, beta_slow=1.0, **OLD),
    "mistral": lambda: llama("mistral", "Mistral", sliding_window=6),
    "qwen2": lambda: llama("qwen2", "Qwen2", tie_word_embeddings=True),
    "qwen2-window": lambda: llama(
        "qwen2-window", "Qwen2", use_sliding_window=True, sliding_window=6, max_window_layers=1
    ),
    "qwen3": lambda: llama("qwen3", "Qwen3", head_dim=16),
    "qwen3-window": lambda: llama(
        "qwen3-window", "Qwen3", head_dim=16, use_sliding_window=True, sliding_window=5, layer_types=TYPES
    ),
    "t5": lambda: T5("t5"),
    "t5-gated": lambda: T5("t5-gated", feed_forward_proj="gated-gelu", tie_word_embeddings=False),
    "bert-words": lambda: BertWords("bert-words"),
    "bert-class": lambda: BertTexts("bert-class", [2, 0, 1], "int64", num_labels=3),
    "bert-classes": lambda: BertTexts(
        "bert-classes", [[1.0, 0.0, 1.0], [0.0, 0.0, 1.0], [1.0, 1.0, 0.0]], "float32", num_labels=3,
        problem_type="multi_label_classification",
    ),
    "bert-number": lambda: BertTexts("bert-number", [[0.3], [-1.2], [2.5]], "float32", num_labels=1),
    "bert-tokens": lambda: BertTokens("bert-tokens"),
    "bert-sentences": lambda: BertSentences("bert-sentences"),
    "resnet": lambda: ResNet("resnet", layer_type="basic"),
    "resnet-bottleneck": lambda: ResNet(
        "resnet-bottleneck", layer_type="bottleneck", hidden_sizes=[16, 24], downsample_in_first_stage=True
    ),
    "resnet-bottleneck-first": lambda: ResNet(
        "resnet-bottleneck-first", layer_type="bottleneck", hidden_sizes=[16, 24], downsample_in_bottleneck=True,
        hidden_act="gelu",
    ),
    "mlp-classification": lambda: Mlp("mlp-classification", "classification"),
    "mlp-regression": lambda: Mlp("mlp-regression", "regression"),
}
