"""What fine-tuning takes in memory: all weights, adapters, and adapters over weights in fewer bits.

    python3 benches/adapters.py [--layers 12] [--width 768] [--tokens 64] [--device cpu] [--tenon PATH]
        [--plugins FOLDER]

A GPT of GPT-2's shape, made by one step, then fine-tuned for three, each in a process of its own. Prints the
model's size in float32, the most memory of the process, and the last loss. Needs no package.
"""

import argparse
import json
import os
import random
import subprocess
import tempfile
from pathlib import Path

STEPS = 3
LETTERS = [chr(0x4E00 + at) for at in range(2000)]


def main():
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tenon"
    target = Path(os.environ.get("CARGO_TARGET_DIR") or cache / "target")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--tokens", type=int, default=64)
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
            for _ in range(STEPS):
                file.write(json.dumps({"text": "".join(draw.choices(LETTERS, k=args.tokens - 2))}) + "\n")
        tenon("plugin", "install", str(args.plugins / "recipe-gpt.wasm"))
        tenon("data", "import", "rows", str(rows))
        tenon("tokenizer", "train", "letters", "--dataset", "rows", "--columns", "text")

        def memory(*command):
            """The most memory of the process, in bytes, and what it printed."""
            with tempfile.TemporaryFile("w+") as out:
                process = subprocess.Popen([args.tenon, *command, "--json"], env=environment, stdout=out,
                                           stderr=subprocess.DEVNULL)
                _, status, usage = os.wait4(process.pid, 0)
                assert status == 0, f"{command} failed"
                out.seek(0)
                return usage.ru_maxrss * 1024, json.load(out)

        def train(**spec):
            job = room / "job.json"
            job.write_text(json.dumps({
                "dataset": "rows", "log_every": 1, "batch": {"rows": 1}, "checkpoint_every": 1000000, **spec,
            }))
            return memory("train", "--config", str(job), "--device", args.device)

        _, base = train(
            recipe="tenon/gpt", tokenizer="letters", steps=1, register="base", optimizer={"kind": "sgd"},
            recipe_config={"n_layer": args.layers, "n_embd": args.width, "n_head": args.width // 64,
                           "n_positions": args.tokens})
        megabytes = round(base["params"]["parameters"] * 4 / 1e6)
        lora = {"rank": 8}
        for name, adapters in [("none", None), ("lora", lora), ("lora, int8", {**lora, "quantize": "int8"}),
                               ("lora, nf4", {**lora, "quantize": "nf4"})]:
            more = {"lora": adapters} if adapters else {}
            peak, run = train(**{"from": "base"}, steps=STEPS, **more)
            points = tenon("runs", "show", run["id"], "--metric", "train/loss")["points"]

            print(json.dumps({
                "adapters": name,
                "model_megabytes": megabytes,
                "process_megabytes": round(peak / 1e6),
                "loss": points[-1]["value"],
            }), flush=True)


if __name__ == "__main__":
    main()
