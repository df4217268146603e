"""Writes scikit-learn's table of tumours as train.jsonl and test.jsonl: python export.py FOLDER

Prints the accuracy of a logistic regression on the same rows, to compare with."""

import json
import sys
from pathlib import Path

from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

table = load_breast_cancer()
train, test, train_labels, test_labels = train_test_split(
    table.data, table.target, test_size=0.3, random_state=0, stratify=table.target
)
folder = Path(sys.argv[1])
for name, rows, labels in (("train", train, train_labels), ("test", test, test_labels)):
    with (folder / f"{name}.jsonl").open("w") as file:
        for row, label in zip(rows, labels):
            file.write(json.dumps({"measures": row.tolist(), "malignant": int(label == 0)}) + "\n")
regression = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(train, train_labels)
print(regression.score(test, test_labels))
