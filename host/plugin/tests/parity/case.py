"""What every case has: a tiny checkpoint, and inputs of several lengths to feed it."""

import zlib

import torch
import torch.nn.functional as F

IGNORED = -100


def padded(rows, fill):
    """int64 [rows, longest]."""
    width = max(map(len, rows))
    return torch.tensor([row + [fill] * (width - len(row)) for row in rows])


def mask(rows):
    return padded([[1] * len(row) for row in rows], 0)


def tokens_loss(logits, labels):
    return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)


class Case:
    """A checkpoint of `transformers` and something to feed it."""

    # Tokens of the tokenizer; models have some rows more.
    vocabulary = 29
    rows = 32
    recipe = None
    kind = None
    # The host's configuration beside `config.json`.
    own = {}
    # Names in the checkpoint that the recipe has no use for, and that `transformers` makes itself.
    unused = []
    # The sequence that grows in generation.
    generates = None

    def __init__(self, name):
        self.name = name
        self.seed = zlib.crc32(name.encode())
        self.random = torch.Generator().manual_seed(self.seed)

    def ids(self, lengths, lowest=0, highest=None):
        return [
            torch.randint(lowest, highest or self.vocabulary, (length,), generator=self.random).tolist()
            for length in lengths
        ]

    def model(self):
        torch.manual_seed(self.seed)
        return self.kind(self.config())

    def save(self, model, folder):
        model.save_pretrained(folder)

    def load(self, folder):
        model, info = self.kind.from_pretrained(folder, output_loading_info=True)

        def names(key):
            return sorted(name for name in info[key] if not any(part in name for part in self.unused))

        return model.float(), names("missing_keys"), names("unexpected_keys")

    def host_name(self, name):
        return name

    def real(self, output):
        """Which tokens of an output are no padding; nothing for outputs that are not of tokens."""
        return None

    def describe(self):
        return {
            "recipe": self.recipe,
            "own": self.own,
            "vocabulary": self.vocabulary,
            "inputs": self.inputs(),
            "unused": self.unused,
            "generates": self.generates,
        }


def sequence(name, rows):
    return {"name": name, "rows": rows, "fill": 0, "sequence": True}


def beside(name, rows, fill):
    return {"name": name, "rows": rows, "fill": fill, "sequence": False}


def numbers(name, tensor, dtype):
    return {"name": name, "shape": list(tensor.shape), "values": tensor.flatten().tolist(), "dtype": dtype}
