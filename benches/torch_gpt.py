"""The training step of host/tensor/benches/train_step.rs in PyTorch: the same model, sizes, optimiser
and thread count, side by side with ours.

    python benches/torch_gpt.py [--threads 2] [--steps 10] [--device cuda] [--preset gpt2-small]
        [--bf16] [--compile]

Prints one line of JSON with tokens per second (the best of the timed rounds, as in the Rust bench).
"""

import argparse
import json
import math
import time

import torch
import torch.nn.functional as F
from torch import nn


# Vocabulary, tokens, layers, heads, width: those of the Rust bench.
PRESETS = {"small": (4096, 128, 4, 4, 256), "gpt2-small": (50257, 1024, 12, 12, 768), "launches": (64, 8, 4, 4, 32)}


class Conv1D(nn.Module):
    """GPT-2's linear layer, [in, out]."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inputs, outputs) * 0.02)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x):
        flat = torch.addmm(self.bias, x.reshape(-1, x.shape[-1]), self.weight)
        return flat.view(*x.shape[:-1], -1)


class Block(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.c_attn, self.attn_proj = Conv1D(dim, 3 * dim), Conv1D(dim, dim)
        self.c_fc, self.mlp_proj = Conv1D(dim, 4 * dim), Conv1D(4 * dim, dim)

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = self.c_attn(self.ln_1(x)).view(b, t, 3, self.heads, d // self.heads).unbind(2)
        q, k, v = (y.transpose(1, 2) for y in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attn_proj(y.transpose(1, 2).reshape(b, t, d))
        return x + self.mlp_proj(F.gelu(self.c_fc(self.ln_2(x)), approximate="tanh"))


class Gpt(nn.Module):
    def __init__(self, vocabulary, positions, layers, heads, dim):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocabulary, dim), nn.Embedding(positions, dim)
        self.h = nn.ModuleList(Block(dim, heads) for _ in range(layers))
        self.ln_f = nn.LayerNorm(dim)

    def forward(self, ids):
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1], device=ids.device))
        for block in self.h:
            x = block(x)
        return F.linear(self.ln_f(x), self.wte.weight)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=10, help="steps in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--preset", default="small", choices=PRESETS)
    parser.add_argument("--bf16", action="store_true", help="autocast")
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    vocabulary, tokens, layers, heads, dim = PRESETS[args.preset]
    batch, device = 8, torch.device(args.device)
    model = Gpt(vocabulary, tokens, layers=layers, heads=heads, dim=dim).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, weight_decay=0.01)
    ids = torch.randint(0, vocabulary, (batch, tokens), device=device)
    targets = torch.randint(0, vocabulary, (batch, tokens), device=device)

    forward = torch.compile(model) if args.compile else model

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=args.bf16):
            logits = forward(ids)
            loss = F.cross_entropy(logits.view(-1, vocabulary), targets.view(-1))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    for _ in range(3):
        step()
    best = math.inf
    for _ in range(args.rounds):
        start = time.perf_counter()
        for _ in range(args.steps):
            loss = step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, (time.perf_counter() - start) / args.steps)
    print(
        json.dumps(
            {
                "bench": "torch train_step",
                "torch": torch.__version__,
                "device": torch.cuda.get_device_name() if device.type == "cuda" else args.device,
                "bf16": args.bf16,
                "compiled": args.compile,
                "threads": args.threads,
                "parameters": sum(p.numel() for p in model.parameters()),
                "ms_per_step": round(best * 1e3, 2),
                "tokens_per_second": round(batch * tokens / best),
                "loss": round(loss, 4),
            }
        )
    )


if __name__ == "__main__":
    main()
