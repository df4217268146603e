"""What `torch` and `transformers` write and read, for tests of importing and exporting.

models.py make KIND FORM FOLDER    writes a tiny model; prints what it computes, as JSON
models.py load KIND FOLDER [OTHER] loads an export with from_pretrained; prints what it computes, and how
                                   far its parameters are from those of OTHER
models.py dpo FOLDER ROWS STEPS    the losses and mean margins of direct preference optimisation of a GPT-2,
                                   with AdamW, batches of 4 rows in their order; prints them
models.py peft KIND FOLDER ADAPTER prints what a model computes, and what it does under an adapter in PEFT's layout
models.py evil FILE TARGET         writes a pickle that would create TARGET if it were executed

KIND: gpt2, llama, bert. FORM: safetensors, shards, bin, old-bin, bin-shards, half, checkpoint, views.
"""

import json
import os
import pickle
import sys
import zipfile
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

transformers.logging.set_verbosity_error()

TEXT = "the sun is over the sea"
WORDS = ["the", "sun", "is", "over", "sea", "##s"]


def gpt2_tokenizer(folder):
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = ["<|endoftext|>"] + alphabet
    merges = [("t", "h"), ("th", "e"), ("Ġ", "the")]
    tokens += [left + right for left, right in merges]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    lines = [f"{left} {right}" for left, right in merges]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(lines) + "\n")
    special = {role: "<|endoftext|>" for role in ["bos_token", "eos_token", "unk_token"]}
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "GPT2Tokenizer", **special}))
    return len(tokens)


def bert_tokenizer(folder):
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + WORDS
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n")
    config = {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return len(tokens)


def llama_tokenizer(folder):
    tokens = ["<unk>", "<s>", "</s>"] + [chr(ord("a") + i) for i in range(26)] + ["▁"]
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, [], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return len(tokens)


def gpt2(tokens):
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(
        vocab_size=tokens, n_embd=16, n_layer=2, n_head=2, n_positions=64, bos_token_id=0, eos_token_id=0,
    ))


def llama(tokens):
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(
        vocab_size=tokens + 2, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, bos_token_id=1, eos_token_id=2,
        tie_word_embeddings=False,
    ))


def bert(tokens):
    return transformers.BertForMaskedLM(transformers.BertConfig(
        vocab_size=tokens, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        max_position_embeddings=64,
    ))


KINDS = {
    "gpt2": (gpt2, gpt2_tokenizer, transformers.GPT2LMHeadModel),
    "llama": (llama, llama_tokenizer, transformers.LlamaForCausalLM),
    "bert": (bert, bert_tokenizer, transformers.BertForMaskedLM),
}


def without_safetensors(folder):
    for path in folder.glob("*.safetensors*"):
        path.unlink()


def write(model, form, folder):
    if form == "half":
        model.to(torch.bfloat16)
    if form == "shards":
        model.save_pretrained(folder, max_shard_size="12KB")
        assert (folder / "model.safetensors.index.json").is_file()
        return
    model.save_pretrained(folder)
    if form in ("safetensors", "half"):
        return
    without_safetensors(folder)
    state = model.state_dict()
    if form == "bin":
        torch.save(state, folder / "pytorch_model.bin")
    elif form == "old-bin":
        torch.save(state, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    elif form == "checkpoint":
        # As training frameworks write it: the state dict among other things, parameters and wrappers.
        state = {"module." + name: torch.nn.Parameter(value) for name, value in state.items()}
        torch.save({"epoch": 3, "loss": 0.5, "state_dict": state}, folder / "last.ckpt")
    elif form == "views":
        # Transposed twice: the same values over another memory.
        state = {
            name: value.t().contiguous().t() if value.dim() == 2 else value for name, value in state.items()
        }
        torch.save(state, folder / "pytorch_model.bin")
    elif form == "bin-shards":
        names, places = sorted(state), {}
        for number in range(2):
            file = f"pytorch_model-{number + 1:05}-of-00002.bin"
            part = {name: state[name] for name in names[number::2]}
            torch.save(part, folder / file)
            places.update({name: file for name in part})
        index = json.dumps({"metadata": {}, "weight_map": places})
        (folder / "pytorch_model.bin.index.json").write_text(index)
    else:
        raise SystemExit(f"no form {form}")


def computed(model, ids):
    """Log-probabilities of tokens after the beginning of a text, in float32."""
    model = model.to(torch.float32).eval()
    begin = model.config.bos_token_id
    ids = ids if begin is None else [begin] + ids
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0]
    logs = torch.log_softmax(logits, -1)
    return [logs[i, token].item() for i, token in enumerate(ids[1:])]


def ids_of(folder):
    return transformers.AutoTokenizer.from_pretrained(folder)(TEXT, add_special_tokens=False)["input_ids"]


def make(kind, form, folder):
    folder = Path(folder)
    folder.mkdir()
    torch.manual_seed(11)
    build, tokenizer, _ = KINDS[kind]
    model = build(tokenizer(folder))
    # At their first values all distributions are alike.
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(8)
    write(model, form, folder)
    ids = ids_of(folder)
    print(json.dumps({"ids": ids, "logs": computed(model, ids), "text": TEXT}))


def load(kind, folder, other=None):
    _, _, cls = KINDS[kind]
    model, report = cls.from_pretrained(folder, output_loading_info=True)
    ids = ids_of(folder)
    answer = {
        "ids": ids,
        "missing": sorted(report["missing_keys"]),
        "unexpected": sorted(report["unexpected_keys"]),
        "dtype": str(model.dtype),
    }
    if other:
        theirs = cls.from_pretrained(other).state_dict()
        ours = model.state_dict()
        assert ours.keys() == theirs.keys()
        answer["largest"] = max((ours[name].float() - theirs[name].float()).abs().max().item() for name in ours)
    answer["logs"] = computed(model, ids)
    print(json.dumps(answer))


def peft(kind, folder, adapter):
    from peft import PeftModel
    from safetensors.torch import load_file

    _, _, cls = KINDS[kind]
    base = cls.from_pretrained(folder)
    ids = ids_of(folder)
    before = computed(base, ids)
    model = PeftModel.from_pretrained(base, adapter)
    # What PEFT does not find it makes anew, without a word.
    stored = load_file(Path(adapter) / "adapter_model.safetensors")
    names = {name.replace(".default.", ".") for name in model.state_dict() if ".lora_" in name}
    assert names == set(stored), "other names"
    print(json.dumps({"ids": ids, "before": before, "logs": computed(model, ids)}))


def dpo(folder, rows, steps):
    """Equation 7 of Rafailov et al. 2023, as it stands there."""
    beta, rate, batch_rows = 0.2, 1e-3, 4
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    policy = transformers.GPT2LMHeadModel.from_pretrained(folder).eval()
    reference = transformers.GPT2LMHeadModel.from_pretrained(folder).eval()
    rows = [json.loads(line) for line in Path(rows).read_text().splitlines()]
    encode = lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]

    def likelihood(model, row, answer):
        prompt = encode(row["prompt"])
        ids = prompt + encode(row[answer]) + [tokenizer.eos_token_id]
        logs = torch.log_softmax(model(input_ids=torch.tensor([ids])).logits[0], -1)
        return sum(logs[at - 1, ids[at]] for at in range(len(prompt), len(ids)))

    optimizer = torch.optim.AdamW(policy.parameters(), lr=rate, weight_decay=0.0)
    losses, margins = [], []
    for step in range(int(steps)):
        first = step * batch_rows % len(rows)
        rewards = []
        for row in rows[first:first + batch_rows]:
            with torch.no_grad():
                base = [likelihood(reference, row, answer) for answer in ("chosen", "rejected")]
            now = [likelihood(policy, row, answer) for answer in ("chosen", "rejected")]
            rewards.append(beta * ((now[0] - base[0]) - (now[1] - base[1])))
        rewards = torch.stack(rewards)
        loss = -torch.nn.functional.logsigmoid(rewards).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        margins.append(rewards.mean().item())
    print(json.dumps({"losses": losses, "margins": margins}))


class Evil:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


def evil(file, target):
    torch.save({"weight": torch.zeros(2)}, file)
    # The archive as torch writes it, with a pickle that no one should load.
    with zipfile.ZipFile(file) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, data in entries.items():
            if name.endswith("data.pkl"):
                data = pickle.dumps({"weight": Evil(target)}, protocol=2)
            archive.writestr(name, data)


if __name__ == "__main__":
    {"make": make, "load": load, "peft": peft, "dpo": dpo, "evil": evil}[sys.argv[1]](*sys.argv[2:])
