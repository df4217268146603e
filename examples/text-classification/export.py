"""Writes paragraphs of the documentation of NumPy, SciPy and scikit-learn, and which library each is of,
as train.jsonl and test.jsonl: python export.py FOLDER

The documentation is the one inside the installed packages. A paragraph's words are kept, its code is not; the
names of the three libraries are taken out, which would make it too easy."""

import hashlib
import importlib
import inspect
import json
import re
import sys
from pathlib import Path

LABELS = {
    "numpy": ["numpy", "numpy.linalg", "numpy.fft", "numpy.random", "numpy.ma", "numpy.polynomial.polynomial"],
    "scipy": ["scipy.signal", "scipy.stats", "scipy.ndimage", "scipy.integrate", "scipy.special", "scipy.interpolate"],
    "sklearn": [
        f"sklearn.{name}"
        for name in ("cluster", "ensemble", "linear_model", "metrics", "preprocessing", "svm", "decomposition", "tree",
                     "neighbors", "model_selection", "feature_extraction.text", "datasets", "pipeline", "impute")
    ],
}


def paragraphs(module):
    """Every documented thing of a module: its name, and the paragraphs about it."""
    for name, thing in sorted(vars(module).items()):
        if name.startswith("_") or not callable(thing):
            continue
        things = [(name, thing)]
        if inspect.isclass(thing):
            things += [(f"{name}.{key}", value) for key, value in sorted(vars(thing).items()) if not key.startswith("_")]
        for full, thing in things:
            text = inspect.getdoc(thing)
            for paragraph in re.split(r"\n\s*\n", text if isinstance(text, str) else ""):
                yield full, paragraph


folder = Path(sys.argv[1])
files = {name: (folder / f"{name}.jsonl").open("w") for name in ("train", "test")}
seen = set()
for label, modules in enumerate(LABELS.values()):
    for module in modules:
        for name, paragraph in paragraphs(importlib.import_module(module)):
            if ">>>" in paragraph or "---" in paragraph:
                continue
            text = re.sub(r"\b(numpy|np|scipy|sp|sklearn|scikit-learn)\b\.?", "", paragraph, flags=re.IGNORECASE)
            text = " ".join(re.findall(r"[A-Za-z]{2,}", text)).lower()
            if len(text.split()) < 12 or text in seen:
                continue
            seen.add(text)
            # All of one thing is on one side: its paragraphs are alike.
            part = "test" if hashlib.md5(name.encode()).digest()[0] < 51 else "train"
            files[part].write(json.dumps({"text": text, "library": label}) + "\n")
