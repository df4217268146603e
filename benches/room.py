"""A data folder for a benchmark, with a dataset of random text and its tokenizer, and `tenon` to run in it."""

import argparse
import json
import os
import random
import subprocess
from pathlib import Path

LETTERS = [chr(0x4E00 + at) for at in range(2000)]


def parser(description, **defaults):
    """The options of a benchmark: where tenon is, and numbers or words with their defaults."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tenon"
    target = Path(os.environ.get("CARGO_TARGET_DIR") or cache / "target")
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    parser.add_argument("--tenon", default=str(target / "release/tenon"))
    parser.add_argument("--plugins", type=Path, default=cache / "plugins")
    return parser


class Room:
    """The dataset `rows` and the tokenizer `letters`, in a folder that somebody else removes."""

    def __init__(self, folder, args, rows):
        self.folder = Path(folder)
        self.binary = args.tenon
        self.environment = {**os.environ, "TENON_DATA": str(self.folder / "data")}
        self.environment.pop("TENON_SERVER", None)
        draw = random.Random(0)
        path = self.folder / "rows.jsonl"
        with open(path, "w") as file:
            for _ in range(rows):
                file.write(json.dumps({"text": "".join(draw.choices(LETTERS, k=args.tokens - 2))}) + "\n")
        self.tenon("plugin", "install", str(args.plugins / "recipe-gpt.wasm"))
        self.tenon("data", "import", "rows", str(path))
        self.tenon("tokenizer", "train", "letters", "--dataset", "rows", "--columns", "text")

    def tenon(self, *command):
        """What the command prints."""
        return self.measured(*command)[1]

    def measured(self, *command):
        """The most memory of the process, in bytes, and what it prints."""
        process = subprocess.Popen([self.binary, *command, "--json"], env=self.environment, stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL, text=True)
        out = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} failed")
        return usage.ru_maxrss * 1024, json.loads(out) if out.strip() else None

    def train(self, spec, *more):
        """The most memory of a training, in bytes, and its run."""
        job = self.folder / "job.json"
        job.write_text(json.dumps({"dataset": "rows", "log_every": 1, "checkpoint_every": 1000000, **spec}))
        return self.measured("train", "--config", str(job), *more)

    def points(self, run, metric):
        """The values of a run's metric."""
        return [point["value"] for point in self.tenon("runs", "show", run["id"], "--metric", metric)["points"]]


def gpt(args):
    """The configuration of a GPT of the size that the options say."""
    return {"n_layer": args.layers, "n_embd": args.width, "n_head": args.width // 64, "n_positions": args.tokens}
