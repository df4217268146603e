"""Predicted classes and scores, and what scikit-learn says of them."""

import numpy as np
from scipy.special import expit, log_softmax, softmax
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from reference import case, column, percentiles


def cases(rng):
    yield from predicted(rng)
    yield from many_classes(rng)
    yield from two_classes(rng)
    yield bootstrapped(rng)


def by_class(truth, guess, labels, positive=None):
    """Everything that follows from predicted classes."""
    expected = {
        "accuracy": sk.accuracy_score(truth, guess),
        "balanced_accuracy": sk.balanced_accuracy_score(truth, guess),
        "matthews": sk.matthews_corrcoef(truth, guess),
        "cohen_kappa": sk.cohen_kappa_score(truth, guess),
    }
    for average in ["macro", "weighted", "micro"]:
        of = sk.precision_recall_fscore_support(truth, guess, average=average, zero_division=0)
        for name, value in zip(["precision", "recall", "f1"], of):
            expected[f"{name}_{average}"] = value
    if positive is not None:
        of = sk.precision_recall_fscore_support(
            truth, guess, average="binary", pos_label=positive, zero_division=0
        )
        expected |= dict(zip(["precision", "recall", "f1"], of))
    else:
        expected |= {"precision": None, "recall": None, "f1": None}
    matrix = sk.confusion_matrix(truth, guess, labels=labels).T.tolist()
    return expected, matrix


def predicted(rng):
    for round, (classes, rows, kind) in enumerate(
        [(1, 5, "int64"), (2, 1, "int64"), (2, 200, "utf8"), (2, 50, "boolean"), (3, 300, "utf8"),
         (7, 400, "int64"), (40, 300, "utf8"), (2, 300, "int64"), (12, 30, "int64"), (3, 3, "utf8")]
    ):
        # Some classes are rare, some are never predicted, some never true.
        weight = rng.dirichlet(np.full(classes, 0.5))
        truth = rng.choice(classes, rows, p=weight)
        right = rng.random(rows) < 0.6
        guess = np.where(right, truth, rng.choice(classes, rows, p=rng.dirichlet(np.full(classes, 0.5))))
        if kind == "utf8":
            names = np.array([f"č{at * 7 % 41:02}|{at}" for at in range(classes)])
        elif kind == "boolean":
            names = np.array([False, True])
        else:
            # Numbers in their order, not in that of their digits.
            names = np.arange(classes) * 5 - 3
        truth, guess = names[truth], names[guess]
        there = np.unique(np.concatenate([truth, guess])).tolist()
        expected, matrix = by_class(truth, guess, there, there[1] if len(there) == 2 else None)
        expected |= {"log_loss": None, "roc_auc": None, "roc_auc_macro": None, "rows": rows}
        columns = [column("class", kind, truth.tolist()), column("guess", kind, guess.tolist())]
        names = [str(name).lower() if kind == "boolean" else str(name) for name in there]
        yield case(f"predicted {round}", {"predicted": "guess"}, columns, expected,
                   matrix={"names": names, "columns": matrix})


def top(scores, truth, k):
    """Ties count against the true class."""
    own = scores[np.arange(len(truth)), truth][:, None]
    return np.mean((scores >= own).sum(axis=1) <= k)


def calibration(outcome, confidence, bins, bands):
    """The errors, from scikit-learn's curve and the number of rows of each of its points."""
    share, mean = calibration_curve(outcome.astype(int), confidence, n_bins=bins, strategy=bands, pos_label=1)
    if bands == "uniform":
        borders = np.linspace(0, 1, bins + 1)
    else:
        borders = np.percentile(confidence, np.linspace(0, 1, bins + 1) * 100)
    rows = np.bincount(np.searchsorted(borders[1:-1], confidence), minlength=bins)
    rows = rows[rows > 0]
    assert len(rows) == len(share)
    apart = np.abs(share - mean)
    return {"calibration_error": (apart * rows).sum() / rows.sum(), "max_calibration_error": apart.max()}


def one_against_all(truth, scores):
    """The areas of each class that has both kinds of rows (for the precision: any rows)."""
    classes = scores.shape[1]
    rows = np.bincount(truth, minlength=classes)
    roc = {c: sk.roc_auc_score(truth == c, scores[:, c]) for c in range(classes) if 0 < rows[c] < len(truth)}
    precision = {c: sk.average_precision_score(truth == c, scores[:, c]) for c in range(classes) if rows[c]}
    expected = {}
    for name, areas in [("roc_auc", roc), ("average_precision", precision)]:
        weights = [rows[c] for c in areas]
        expected[f"{name}_macro"] = np.mean(list(areas.values())) if areas else None
        expected[f"{name}_weighted"] = np.average(list(areas.values()), weights=weights) if areas else None
    if len(roc) == classes and np.allclose(scores.sum(axis=1), 1):
        # Where all are defined it is what scikit-learn does in one call.
        for average in ["macro", "weighted"]:
            whole = sk.roc_auc_score(truth, scores, multi_class="ovr", average=average)
            assert np.isclose(whole, expected[f"roc_auc_{average}"], rtol=1e-12)
    areas = {"roc_auc": roc, "average_precision": precision}
    return expected, {name: [of.get(c) for c in range(classes)] for name, of in areas.items()}


def many_classes(rng):
    for round, (classes, rows, scale, bands, ties) in enumerate(
        [(3, 200, "logits", "uniform", False), (10, 300, "logits", "quantile", False),
         (5, 250, "logits", "uniform", True), (4, 101, "probabilities", "uniform", False),
         (6, 153, "probabilities", "quantile", True), (3, 120, "scores", "uniform", True),
         (20, 40, "logits", "uniform", False), (3, 1, "logits", "uniform", False),
         (8, 500, "logits", "uniform", False)]
    ):
        truth = rng.choice(classes, rows, p=rng.dirichlet(np.ones(classes)))
        raw = rng.normal(size=(rows, classes)) * 2
        raw[np.arange(rows), truth] += 1
        if round == 8:
            raw *= 300  # Certain of everything, and often wrong.
        if ties:
            raw = np.round(raw)
        if scale == "probabilities":
            raw = np.round(softmax(raw, axis=1), 2) if ties else softmax(raw, axis=1)
            raw /= raw.sum(axis=1, keepdims=True)
        raw = raw.astype(np.float32).astype(np.float64)
        values = softmax(raw, axis=1) if scale == "logits" else raw
        guess = values.argmax(axis=1)
        expected, _ = by_class(truth, guess, range(classes))
        expected["top_1_accuracy"] = top(raw, truth, 1)
        expected["top_2_accuracy"] = top(raw, truth, 2)
        if not ties and rows > 1:
            sk_top = sk.top_k_accuracy_score(truth, raw, k=2, labels=range(classes))
            assert sk_top == expected["top_2_accuracy"]
        areas, classwise = one_against_all(truth, values)
        expected |= areas
        if scale == "scores":
            expected |= {"log_loss": None, "brier": None, "calibration_error": None}
        else:
            labels = np.arange(classes)
            if scale == "logits":
                expected["log_loss"] = -log_softmax(raw, axis=1)[np.arange(rows), truth].mean()
            else:
                expected["log_loss"] = sk.log_loss(truth, values, labels=labels)
            # Rows of single precision need not sum to 1 exactly: the definition, which scikit-learn's
            # agrees with.
            expected["brier"] = ((np.eye(classes)[truth] - values) ** 2).sum(axis=1).mean()
            assert np.isclose(sk.brier_score_loss(truth, values, labels=labels), expected["brier"], rtol=1e-6)
            bins = 7
            expected |= calibration(truth == guess, values.max(axis=1), bins, bands)
        names = [f"name {c}" for c in range(classes)] if round % 2 else []
        config = {"scores": "s", "scale": scale, "labels": names, "top": [1, 2, 1000], "bins": 7, "bands": bands}
        columns = [column("class", "int64", truth.tolist()), column("s", "float32-list", raw.tolist())]
        yield case(f"many classes {round}", config, columns, expected, classes=classwise)


def two_classes(rng):
    for round, (rows, scale, kind, ties, positive, threshold) in enumerate(
        [(300, "probabilities", "float64", False, None, None), (200, "probabilities", "float64", True, None, None),
         (150, "logits", "float32", False, None, None), (150, "logits", "float64", True, "1", None),
         (120, "scores", "float64", True, None, None), (200, "probabilities", "float64", False, None, 0.3),
         (200, "logits", "float32-list", False, "0", None), (200, "probabilities", "float32-list", True, "0", 0.7),
         (6, "scores", "int64", True, None, 1.0), (40, "probabilities", "float64", True, None, None)]
    ):
        truth = (rng.random(rows) < 0.3).astype(int)
        truth[:2] = [0, 1]
        raw = rng.normal(size=rows) + truth
        if ties:
            raw = np.round(raw)
        if scale == "probabilities":
            raw = expit(raw)
            if round == 9:
                raw = (raw > 0.5).astype(float)  # Certain of everything.
        if kind == "float32-list":
            both = np.stack([-raw, raw], axis=1) if scale == "logits" else np.stack([1 - raw, raw], axis=1)
            values = both.astype(np.float32).astype(np.float64)
            raw = softmax(values, axis=1) if scale == "logits" else values
            values, raw = values.tolist(), raw[:, 1] if positive != "0" else raw[:, 0]
        else:
            raw = raw.astype(np.float32).astype(np.float64) if kind == "float32" else raw
            values = raw.astype(int).tolist() if kind == "int64" else raw.tolist()
        chance = expit(raw) if scale == "logits" and kind != "float32-list" else raw
        looked_for = 0 if positive == "0" else 1
        bar = threshold if threshold is not None else (0 if scale == "scores" else 0.5)
        if positive == "0" and threshold is None:
            guess = np.where(chance >= bar, 0, 1)
        elif positive == "0":
            guess = np.where(chance > bar, 0, 1)
        else:
            guess = (chance > bar).astype(int)
        outcome = truth == looked_for
        expected, _ = by_class(truth, guess, [0, 1], looked_for)
        expected["roc_auc"] = sk.roc_auc_score(outcome, chance)
        expected["average_precision"] = sk.average_precision_score(outcome, chance)
        expected["roc_auc_macro"] = None
        if scale == "scores":
            expected |= {"log_loss": None, "brier": None}
        elif kind != "float32-list":
            if scale == "logits":
                expected["log_loss"] = np.logaddexp(0, np.where(outcome, -raw, raw)).mean()
            else:
                expected["log_loss"] = sk.log_loss(outcome, chance)
            expected["brier"] = sk.brier_score_loss(outcome, chance)
            expected |= calibration(outcome, chance, 15, "uniform")
        config = {"scores": "s", "scale": scale}
        config |= {"positive": positive} if positive else {}
        config |= {"threshold": threshold} if threshold is not None else {}
        columns = [column("class", "int64", truth.tolist()), column("s", kind, values)]
        yield case(f"two classes {round}", config, columns, expected, curve=expected["roc_auc"])


def bootstrapped(rng):
    rows = 400
    truth = (rng.random(rows) < 0.4).astype(int)
    chance = expit(rng.normal(size=rows) + 1.5 * truth)
    guess = (chance > 0.5).astype(int)
    intervals = {
        "accuracy": percentiles(lambda at: (truth[at] == guess[at]).mean(), rows, rng),
        "f1": percentiles(lambda at: sk.f1_score(truth[at], guess[at]), rows, rng, 2000),
        "roc_auc": percentiles(lambda at: sk.roc_auc_score(truth[at], chance[at]), rows, rng, 2000),
        "brier": percentiles(lambda at: ((truth[at] - chance[at]) ** 2).mean(), rows, rng),
    }
    expected = {"accuracy": (truth == guess).mean(), "roc_auc": sk.roc_auc_score(truth, chance)}
    config = {"scores": "s", "scale": "probabilities", "resamples": 5000}
    columns = [column("class", "int64", truth.tolist()), column("s", "float64", chance.tolist())]
    return case("bootstrapped", config, columns, expected, intervals=intervals)
