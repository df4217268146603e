"""Writes scikit-learn's handwritten digits as train.jsonl and test.jsonl: python export.py FOLDER"""

import json
import sys
from pathlib import Path

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

digits = load_digits()
# The pixels are 0 to 16; images have 0 to 255.
images = (digits.images * 255 / 16).round().astype(int).reshape(len(digits.images), -1)
parts = train_test_split(images, digits.target, test_size=0.25, random_state=0, stratify=digits.target)
folder = Path(sys.argv[1])
for name, pixels, labels in (("train", parts[0], parts[2]), ("test", parts[1], parts[3])):
    with (folder / f"{name}.jsonl").open("w") as file:
        for image, label in zip(pixels, labels):
            file.write(json.dumps({"image": image.tolist(), "label": int(label)}) + "\n")
