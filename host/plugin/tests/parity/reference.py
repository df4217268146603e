"""What `transformers` computes, for `parity.rs` to compare with.

Reads commands from standard input, one JSON object a line, and answers each with one:

    {"do": "make", "case": NAME, "folder": F}   makes F: a checkpoint (config.json, model.safetensors) with
                                                random weights, and what it computes (see `make`)
    {"do": "check", "case": NAME, "folder": F}  loads F, which the host has saved, and says how far the
                                                host's outputs are from those of `transformers`

Everything is float32 and follows from the case's name.
"""

import json
import pathlib
import sys

import torch
from safetensors.torch import load_file, save_file

from cases import CASES

LEARNING_RATE = 3e-3
STEPS = 10


def randomise(model, seed):
    """Moves every parameter, so that none is 0 or 1 and no name can stand in for another."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, parameter in sorted(model.named_parameters()):
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
        for name, buffer in sorted(model.named_buffers()):
            if name.endswith(("running_mean", "running_var")):
                buffer += 0.5 * torch.rand(buffer.shape, generator=generator)


def outputs(case, model):
    model.eval()
    with torch.no_grad():
        return {name: value.contiguous() for name, value in case.outputs(model).items()}


def make(case, folder):
    """Writes into `folder`:

    config.json, model.safetensors   the checkpoint, as `save_pretrained` writes it
    case.json                        what the host is to feed, and the losses of ten steps
    outputs.safetensors              the outputs in evaluation
    gradients.safetensors            the gradient of every parameter in training
    """
    folder.mkdir(parents=True, exist_ok=True)
    model = case.model()
    randomise(model, case.seed)
    case.save(model, folder)
    save_file(outputs(case, model), folder / "outputs.safetensors")

    model.train()
    model.zero_grad()
    case.loss(model).backward()
    gradients = {
        case.host_name(name): parameter.grad.contiguous()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    save_file(gradients, folder / "gradients.safetensors")

    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = case.loss(model)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    described = case.describe() | {"losses": losses, "learning_rate": LEARNING_RATE}
    (folder / "case.json").write_text(json.dumps(described))
    return {}


def check(case, folder):
    """The largest difference between the host's outputs and those of `transformers` with the host's
    weights, over what is no padding, and the names that one of them lacks."""
    model, missing, unexpected = case.load(folder)
    found = load_file(folder / "outputs.safetensors")
    expected = outputs(case, model)
    if sorted(found) != sorted(expected):
        raise ValueError(f"the outputs are {sorted(found)}, not {sorted(expected)}")
    difference = 0.0
    for name, value in expected.items():
        apart = (found[name] - value).abs()
        real = case.real(name)
        if real is not None:
            apart = apart * real.unsqueeze(-1)
        difference = max(difference, apart.max().item())
    return {"difference": difference, "missing": missing, "unexpected": unexpected}


def main():
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    for line in sys.stdin:
        command = json.loads(line)
        try:
            case, folder = CASES[command["case"]](), pathlib.Path(command["folder"])
            answer = {"make": make, "check": check}[command["do"]](case, folder)
        except Exception as error:  # The test shows it.
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


main()
