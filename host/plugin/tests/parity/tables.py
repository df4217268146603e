"""Images and tables."""

import json

import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import load_file, save_file

from case import Case, numbers


class ResNet(Case):
    recipe = "recipe-resnet"
    kind = transformers.ResNetForImageClassification
    own = {"image_size": [40, 36], "image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.3, 0.25]}
    unused = ["num_batches_tracked"]

    def __init__(self, name, **more):
        super().__init__(name)
        sizes = dict(num_channels=3, embedding_size=8, hidden_sizes=[8, 16], depths=[2, 1], num_labels=5)
        self._config = transformers.ResNetConfig(**sizes | more)
        self.image = torch.randint(0, 256, (6, 3, 40, 36), generator=self.random)
        self.labels = torch.randint(0, 5, (6,), generator=self.random)

    def config(self):
        return self._config

    def inputs(self):
        return [numbers("image", self.image, "uint8"), numbers("labels", self.labels, "int64")]

    def logits(self, model):
        of = lambda name: torch.tensor(self.own[name]).view(3, 1, 1)
        return model(pixel_values=(self.image / 255 - of("image_mean")) / of("image_std")).logits

    def outputs(self, model):
        return {"logits": self.logits(model)}

    def loss(self, model):
        return F.cross_entropy(self.logits(model), self.labels)


class Table(torch.nn.Module):
    """What `tenon/mlp` is, in PyTorch's own layers."""

    def __init__(self, outputs):
        super().__init__()
        self.normalise = torch.nn.BatchNorm1d(4)
        self.embeddings = torch.nn.ModuleList([torch.nn.Embedding(5, 3), torch.nn.Embedding(4, 2)])
        self.layers = torch.nn.ModuleList([torch.nn.Linear(9, 16), torch.nn.Linear(16, 12)])
        self.head = torch.nn.Linear(12, outputs)

    def forward(self, numeric, categories):
        parts = [embedding(ids) for embedding, ids in zip(self.embeddings, categories)]
        x = torch.cat([self.normalise(numeric), *parts], 1)
        for layer in self.layers:
            x = F.gelu(layer(x))
        return self.head(x)


class Mlp(Case):
    recipe = "recipe-mlp"
    unused = ["num_batches_tracked"]

    def __init__(self, name, task):
        super().__init__(name)
        self.regression = task == "regression"
        self.own = {
            "numeric": ["age", {"column": "others", "size": 3}],
            "categorical": [{"column": "city", "count": 5}, {"column": "kind", "count": 4, "width": 2}],
            "hidden_sizes": [16, 12], "hidden_act": "gelu", "dropout": 0.0, "task": task,
            "num_labels": 1 if self.regression else 3, "label_mean": 30.0, "label_std": 4.0,
        }
        self.numeric = 5 * torch.randn(9, 4, generator=self.random) + 2
        self.categories = [torch.randint(0, n, (9,), generator=self.random) for n in (5, 4)]
        if self.regression:
            self.labels = 30 + 4 * torch.randn(9, 1, generator=self.random)
        else:
            self.labels = torch.randint(0, 3, (9,), generator=self.random)

    def model(self):
        torch.manual_seed(self.seed)
        return Table(self.own["num_labels"])

    def save(self, model, folder):
        save_file(model.state_dict(), folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps({}))

    def load(self, folder):
        model = Table(self.own["num_labels"])
        missing, unexpected = model.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
        return model, [name for name in missing if "num_batches" not in name], unexpected

    def inputs(self):
        labels = numbers("labels", self.labels, "float32" if self.regression else "int64")
        return [
            numbers("numeric.0", self.numeric[:, :1], "float32"),
            numbers("numeric.1", self.numeric[:, 1:], "float32"),
            numbers("categorical.0", self.categories[0], "int64"),
            numbers("categorical.1", self.categories[1], "int64"),
            labels,
        ]

    def outputs(self, model):
        out = model(self.numeric, self.categories)
        return {"value": 30 + 4 * out} if self.regression else {"logits": out}

    def loss(self, model):
        out = model(self.numeric, self.categories)
        if self.regression:
            return F.mse_loss(out, (self.labels - 30) / 4)
        return F.cross_entropy(out, self.labels)
