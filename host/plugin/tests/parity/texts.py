"""Decoders, and T5."""

import json

import torch
import transformers
from safetensors.torch import load_file, save_file

from case import IGNORED, Case, beside, mask, padded, sequence, tokens_loss


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


class T5Untied(T5):
    """T5 1.1 as the hub has it: an output layer of its own, and a configuration that says so."""

    def model(self):
        model = super().model()
        weight = torch.randn(model.lm_head.weight.shape, generator=torch.Generator().manual_seed(self.seed))
        model.lm_head.weight = torch.nn.Parameter(weight)
        return model

    def save(self, model, folder):
        super().save(model, folder)
        file = folder / "config.json"
        config = json.loads(file.read_text())
        config.pop("scale_decoder_outputs", None)
        file.write_text(json.dumps(config | {"tie_word_embeddings": False}))
