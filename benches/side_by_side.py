"""The training step of a small GPT here and in PyTorch, in turns on the same machine.

    python benches/side_by_side.py [--turns 5] [--threads 2] [--steps 10]

Run it with a Python that has torch. Each turn times our bench (host/tensor/benches/train_step.rs) and
then PyTorch's (torch_gpt.py), so that whatever else the machine does meets both. Prints the median of
each and the median of the turns' ratios.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent


def last_json(command, environment=None):
    done = subprocess.run(command, cwd=HERE.parent, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    return json.loads(lines[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=10)
    args = parser.parse_args()
    ours = ["cargo", "bench", "--quiet", "--workspace", "--bench", "train_step", "--", "--steps", str(args.steps)]
    theirs = [sys.executable, str(HERE / "torch_gpt.py"), "--threads", str(args.threads), "--steps", str(args.steps)]
    environment = os.environ | {"RAYON_NUM_THREADS": str(args.threads)}
    turns = []
    for turn in range(args.turns):
        a = last_json(ours, environment)["tokens_per_second"]
        b = last_json(theirs)["tokens_per_second"]
        turns.append((a, b))
        print(f"turn {turn + 1}: tenon {a} tokens/s, PyTorch {b}, ratio {a / b:.2f}", file=sys.stderr)
    print(
        json.dumps(
            {
                "bench": "train_step, tenon and PyTorch in turns",
                "turns": args.turns,
                "threads": args.threads,
                "tenon_tokens_per_second": statistics.median(a for a, _ in turns),
                "torch_tokens_per_second": statistics.median(b for _, b in turns),
                "ratio": round(statistics.median(a / b for a, b in turns), 3),
            }
        )
    )


if __name__ == "__main__":
    main()
