"""The architectures and variants that are compared, by name."""

from bert import BertSentences, BertTexts, BertTokens, BertWords
from tables import Mlp, ResNet
from texts import T5, Gpt2, T5Untied, llama


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
    "t5-untied": lambda: T5Untied("t5-untied", feed_forward_proj="gated-gelu", tie_word_embeddings=False),
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
