"""What fine-tuning takes in memory: all weights, adapters, and adapters over weights in fewer bits.

    python3 benches/adapters.py [--layers 12] [--width 768] [--tokens 64] [--device cpu] [--tenon PATH]
        [--plugins FOLDER]

A GPT of GPT-2's shape, made by one step, then fine-tuned for three, each in a process of its own. Prints the
model's size in float32, the most memory of the process, and the last loss. Needs no package.
"""

import json
import tempfile

import room

STEPS = 3
LORA = {"rank": 8}
WAYS = {
    "none": {},
    "lora": {"lora": LORA},
    "lora, int8": {"lora": {**LORA, "quantize": "int8"}},
    "lora, nf4": {"lora": {**LORA, "quantize": "nf4"}},
}


def main():
    args = room.parser(__doc__, layers=12, width=768, tokens=64, device="cpu").parse_args()
    with tempfile.TemporaryDirectory(prefix="tenon-bench-") as folder:
        place = room.Room(folder, args, STEPS)
        batch, device = {"batch": {"rows": 1}}, ["--device", args.device]
        made = {"recipe": "tenon/gpt", "recipe_config": room.gpt(args), "tokenizer": "letters",
                "optimizer": {"kind": "sgd"}, "steps": 1, "register": "base"}
        _, base = place.train({**batch, **made}, *device)
        for name, way in WAYS.items():
            peak, run = place.train({**batch, "from": "base", "steps": STEPS, **way}, *device)
            print(json.dumps({
                "adapters": name,
                "model_megabytes": round(base["params"]["parameters"] * 4 / 1e6),
                "process_megabytes": round(peak / 1e6),
                "loss": place.points(run, "train/loss")[-1],
            }), flush=True)


if __name__ == "__main__":
    main()
