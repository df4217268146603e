"""Trainings of whole recipes here and of the same models in transformers, in turns on the same machine.

    python benches/recipes_side_by_side.py [--turns 3] [--threads 2] [--only bert|resnet]
        [--tenon PATH] [--plugins FOLDER]

bert: four layers of BERT-base's shape (d 768, 12 heads, 3072 between), 8 rows of 128 tokens, masked words.
resnet: ResNet-18 on images of 64 x 64, batches of 32.

Run it with a Python that has torch and transformers. Ours is `tenon train` as users start it, reading its
dataset through the recipe's component; theirs is a plain loop over tensors that are in memory already. Both
take AdamW steps in float32 with clipping. Prints rows per second: the median of our logged points and of
their steps, the median over the turns, and the median of the turns' ratios.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STEPS = {"bert": 12, "resnet": 24}
WARM = 3
BERT = {
    "architectures": ["BertForMaskedLM"], "hidden_size": 768, "num_hidden_layers": 4, "num_attention_heads": 12,
    "intermediate_size": 3072, "max_position_embeddings": 128, "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
# Those of our own tokenizers.
TOKENS = {"cls_token": "<bos>", "sep_token": "<eos>", "mask_token": "<sep>"}
RESNET = {
    "architectures": ["ResNetForImageClassification"], "num_channels": 3, "embedding_size": 64,
    "hidden_sizes": [64, 128, 256, 512], "depths": [2, 2, 2, 2], "layer_type": "basic",
}
LETTERS = [chr(0x4E00 + at) for at in range(2000)]


def bert_rows(path):
    draw = random.Random(0)
    with open(path, "w") as file:
        for _ in range(256):
            file.write(json.dumps({"text": "".join(draw.choices(LETTERS, k=126))}) + "\n")
    return 8


def resnet_rows(path):
    draw = random.Random(0)
    with open(path, "w") as file:
        for _ in range(256):
            row = {"image": [draw.randrange(256) for _ in range(3 * 64 * 64)], "label": draw.randrange(10)}
            file.write(json.dumps(row) + "\n")
    return 32


class Ours:
    """A data folder in which the training only needs to be started."""

    def __init__(self, kind, args, room):
        self.kind, self.tenon = kind, args.tenon
        self.environment = {**os.environ, "TENON_DATA": str(room / "data"), "RAYON_NUM_THREADS": str(args.threads)}
        self.environment.pop("TENON_SERVER", None)
        rows = room / "rows.jsonl"
        batch = bert_rows(rows) if kind == "bert" else resnet_rows(rows)
        self.run("plugin", "install", str(args.plugins / f"recipe-{kind}.wasm"))
        self.run("data", "import", "rows", str(rows))
        spec = {
            "recipe": f"tenon/{kind}", "dataset": "rows", "steps": STEPS[kind], "log_every": 1,
            "batch": {"rows": batch}, "checkpoint_every": 1000000,
            "recipe_config": {**BERT, **TOKENS} if kind == "bert" else {**RESNET, "image_size": [64, 64], "num_labels": 10},
        }
        if kind == "bert":
            self.run("tokenizer", "train", "letters", "--dataset", "rows", "--columns", "text")
            spec["tokenizer"] = "letters"
        self.spec = room / "job.json"
        self.spec.write_text(json.dumps(spec))

    def run(self, *command):
        done = subprocess.run([self.tenon, *command, "--device", "cpu", "--json"], env=self.environment, check=True,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        return json.loads(done.stdout) if done.stdout.strip() else None

    def rows_per_second(self):
        run = self.run("train", "--config", str(self.spec))["id"]
        metric, rows = ("tokens", 128) if self.kind == "bert" else ("rows", 1)
        points = self.run("runs", "show", run, "--metric", f"train/{metric}_per_second")["points"]
        return statistics.median(point["value"] for point in points[WARM:]) / rows


def theirs(kind, threads):
    """Rows per second of transformers; in a process of its own, so that neither sees the other's memory."""
    import torch
    import transformers

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    if kind == "bert":
        settings = {name: value for name, value in BERT.items() if name != "architectures"}
        config = transformers.BertConfig(vocab_size=len(LETTERS) + 5, **settings)
        model, batch = transformers.BertForMaskedLM(config), 8
        ids = torch.randint(5, config.vocab_size, (batch, 128))
        labels = torch.where(torch.rand(ids.shape) < 0.15, ids, -100)
        inputs = {"input_ids": ids, "labels": labels}
    else:
        settings = {name: value for name, value in RESNET.items() if name != "architectures"}
        config = transformers.ResNetConfig(num_labels=10, **settings)
        model, batch = transformers.ResNetForImageClassification(config), 32
        inputs = {"pixel_values": torch.rand(batch, 3, 64, 64), "labels": torch.randint(0, 10, (batch,))}
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, weight_decay=0.01)
    times = []
    for _ in range(STEPS[kind]):
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        model(**inputs).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        times.append(time.perf_counter() - start)
    print(batch / statistics.median(times[WARM:]))


def main():
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tenon"
    target = Path(os.environ.get("CARGO_TARGET_DIR") or cache / "target")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=STEPS)
    parser.add_argument("--tenon", default=str(target / "release/tenon"))
    parser.add_argument("--plugins", type=Path, default=cache / "plugins")
    parser.add_argument("--theirs", choices=STEPS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.theirs:
        theirs(args.theirs, args.threads)
        return
    for kind in [args.only] if args.only else STEPS:
        with tempfile.TemporaryDirectory(prefix="tenon-bench-") as room:
            ours = Ours(kind, args, Path(room))
            turns = []
            for turn in range(args.turns):
                a = ours.rows_per_second()
                command = [sys.executable, __file__, "--theirs", kind, "--threads", str(args.threads)]
                b = float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()[-1])
                turns.append((a, b))
                print(f"{kind}, turn {turn + 1}: tenon {a:.2f} rows/s, transformers {b:.2f}, ratio {a / b:.2f}",
                      file=sys.stderr)
        print(json.dumps({
            "bench": f"training {kind}, tenon and transformers in turns",
            "turns": args.turns,
            "threads": args.threads,
            "tenon_rows_per_second": round(statistics.median(a for a, _ in turns), 2),
            "transformers_rows_per_second": round(statistics.median(b for _, b in turns), 2),
            "ratio": round(statistics.median(a / b for a, b in turns), 3),
        }))


if __name__ == "__main__":
    main()
