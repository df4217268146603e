"""What gradient checkpointing takes and gives: trainings with it and without, in turns.

    python3 benches/gradient_checkpointing.py [--turns 2] [--layers 12] [--width 256] [--tokens 512] [--rows 8]
        [--device cpu] [--tenon PATH] [--plugins FOLDER]

A GPT with dropout on random text, as users start it. Prints tokens per second (median of the steps after the
second), the most that a step has kept for its backward pass, the most memory of the process, and the last loss,
which is the same. Needs no package.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import tempfile
from pathlib import Path

STEPS = 6
LETTERS = [chr(0x4E00 + at) for at in range(2000)]


def main():
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tenon"
    target = Path(os.environ.get("CARGO_TARGET_DIR") or cache / "target")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--tokens", type=int, default=512)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tenon", default=str(target / "release/tenon"))
    parser.add_argument("--plugins", type=Path, default=cache / "plugins")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tenon-bench-") as room:
        room = Path(room)
        environment = {**os.environ, "TENON_DATA": str(room / "data")}
        environment.pop("TENON_SERVER", None)

        def tenon(*command):
            done = subprocess.run([args.tenon, *command, "--json"], env=environment, check=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            return json.loads(done.stdout) if done.stdout.strip() else None

        draw = random.Random(0)
        rows = room / "rows.jsonl"
        with open(rows, "w") as file:
            for _ in range(STEPS * args.rows):
                file.write(json.dumps({"text": "".join(draw.choices(LETTERS, k=args.tokens - 2))}) + "\n")
        tenon("plugin", "install", str(args.plugins / "recipe-gpt.wasm"))
        tenon("data", "import", "rows", str(rows))
        tenon("tokenizer", "train", "letters", "--dataset", "rows", "--columns", "text")
        spec = {
            "recipe": "tenon/gpt", "dataset": "rows", "tokenizer": "letters", "steps": STEPS, "log_every": 1,
            "batch": {"rows": args.rows}, "checkpoint_every": 1000000,
            "recipe_config": {"n_layer": args.layers, "n_embd": args.width, "n_head": args.width // 64,
                              "n_positions": args.tokens},
        }
        job = room / "job.json"
        job.write_text(json.dumps(spec))
        for _ in range(args.turns):
            for more in ([], ["--gradient-checkpointing"]):
                run = tenon("train", "--config", str(job), "--device", args.device, *more)["id"]

                def points(metric):
                    return [point["value"] for point in tenon("runs", "show", run, "--metric", metric)["points"]]

                print(json.dumps({
                    "gradient_checkpointing": bool(more),
                    "tokens_per_second": round(statistics.median(points("train/tokens_per_second")[2:])),
                    "saved_megabytes": round(points("memory/saved_bytes")[-1] / 1e6),
                    "process_megabytes": round(points("memory/process_peak_bytes")[-1] / 1e6),
                    "loss": points("train/loss")[-1],
                }), flush=True)


if __name__ == "__main__":
    main()
