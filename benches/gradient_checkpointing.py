"""What gradient checkpointing takes and gives: trainings with it and without, in turns.

    python3 benches/gradient_checkpointing.py [--turns 2] [--layers 12] [--width 256] [--tokens 512] [--rows 8]
        [--device cpu] [--tenon PATH] [--plugins FOLDER]

A GPT with dropout on random text, as users start it. Prints tokens per second (median of the steps after the
second), the most that a step has kept for its backward pass, the most memory of the process, and the last loss,
which is the same. Needs no package.
"""

import json
import statistics
import tempfile

import room

STEPS = 6


def main():
    args = room.parser(__doc__, turns=2, layers=12, width=256, tokens=512, rows=8, device="cpu").parse_args()
    with tempfile.TemporaryDirectory(prefix="tenon-bench-") as folder:
        place = room.Room(folder, args, STEPS * args.rows)
        spec = {"recipe": "tenon/gpt", "recipe_config": room.gpt(args), "tokenizer": "letters", "steps": STEPS,
                "batch": {"rows": args.rows}}
        for _ in range(args.turns):
            for more in ([], ["--gradient-checkpointing"]):
                peak, run = place.train(spec, "--device", args.device, *more)
                print(json.dumps({
                    "gradient_checkpointing": bool(more),
                    "tokens_per_second": round(statistics.median(place.points(run, "train/tokens_per_second")[2:])),
                    "saved_megabytes": round(place.points(run, "memory/saved_bytes")[-1] / 1e6),
                    "process_megabytes": round(peak / 1e6),
                    "loss": place.points(run, "train/loss")[-1],
                }), flush=True)


if __name__ == "__main__":
    main()
