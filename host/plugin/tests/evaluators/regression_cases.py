"""Predicted numbers, and what scikit-learn and SciPy say of them."""

import numpy as np
from scipy import stats
from sklearn import metrics as sk

from reference import case, column, percentiles


def measures(truth, guess):
    several = len(truth) > 1
    varies = len(np.unique(truth)) > 1 and len(np.unique(guess)) > 1
    return {
        "mae": sk.mean_absolute_error(truth, guess),
        "mse": sk.mean_squared_error(truth, guess),
        "rmse": sk.root_mean_squared_error(truth, guess),
        "median_absolute_error": sk.median_absolute_error(truth, guess),
        "max_error": sk.max_error(truth, guess),
        # scikit-learn divides by a very small number where the true one is 0.
        "mape": None if (truth == 0).any() else sk.mean_absolute_percentage_error(truth, guess),
        "r2": sk.r2_score(truth, guess) if several else None,
        "explained_variance": sk.explained_variance_score(truth, guess) if several else None,
        "pearson": stats.pearsonr(truth, guess).statistic if varies else None,
        "spearman": stats.spearmanr(truth, guess).statistic if varies else None,
    }


def numbers(rng):
    normal = rng.normal(size=300)
    yield "normal", normal, normal * 0.7 + rng.normal(size=300) * 0.3 + 0.1
    heavy = rng.standard_cauchy(size=201)
    yield "heavy tails", heavy, heavy + rng.standard_cauchy(size=201)
    yield "large", 1e6 + normal, 1e6 + normal + rng.normal(size=300)
    yield "small", 1e-12 * normal, 1e-12 * normal[::-1]
    ties = rng.integers(1, 5, size=150).astype(float)
    yield "ties", ties, np.round(ties + rng.normal(size=150))
    yield "zeros", np.array([0.0, -0.0, 1.0, 2.0, 0.0]), np.array([-0.0, 0.0, 3.0, -1.0, 1.0])
    # Of numbers without rounding errors: of others scikit-learn divides by what these leave.
    yield "constant truth", np.full(20, 0.5), normal[:20]
    yield "constant prediction", normal[:21], np.full(21, -7.0)
    yield "constant and right", np.full(5, 0.3), np.full(5, 0.3)
    yield "one", np.array([2.0]), np.array([2.5])
    yield "two", np.array([2.0, 3.0]), np.array([7.0, -1.0])
    yield "perfect", normal, normal
    yield "backwards", normal, -normal


def cases(rng):
    for name, truth, guess in numbers(rng):
        columns = [column("target", "float64", truth.tolist()), column("guess", "float64", guess.tolist())]
        expected = measures(truth, guess) | {"rows": len(truth)}
        yield case(name, {"predicted": "guess"}, columns, expected)
    truth = rng.integers(-50, 50, size=99)
    truth[truth == 0] = 1
    guess = (truth + rng.normal(size=99)).astype(np.float32)
    columns = [column("target", "int64", truth.tolist()), column("guess", "float32", guess.tolist())]
    expected = measures(truth.astype(float), guess.astype(float))
    yield case("integers and single precision", {"predicted": "guess"}, columns, expected)

    truth = rng.normal(size=(80, 3)).astype(np.float32) + np.float32(1)
    guess = (truth * [1, 0.5, -0.2] + rng.normal(size=(80, 3))).astype(np.float32)
    each = [measures(truth[:, at].astype(float), guess[:, at].astype(float)) for at in range(3)]
    expected = {name: np.mean([of[name] for of in each]) for name in each[0]}
    for name, of in [("mae", sk.mean_absolute_error), ("r2", sk.r2_score), ("rmse", sk.root_mean_squared_error)]:
        assert np.isclose(of(truth.astype(float), guess.astype(float)), expected[name])
    columns = [column("target", "float32-list", truth.tolist()), column("guess", "float32-list", guess.tolist())]
    yield case("three targets", {"predicted": "guess", "names": ["a", "b", "c"]}, columns, expected)

    rows = 300
    truth = rng.normal(size=rows)
    guess = truth + rng.normal(size=rows) * (0.5 + np.abs(truth))
    intervals = {
        "mae": percentiles(lambda at: np.abs(truth[at] - guess[at]).mean(), rows, rng),
        "r2": percentiles(lambda at: sk.r2_score(truth[at], guess[at]), rows, rng, 2000),
        "spearman": percentiles(lambda at: stats.spearmanr(truth[at], guess[at]).statistic, rows, rng, 2000),
        "median_absolute_error": percentiles(lambda at: np.median(np.abs(truth[at] - guess[at])), rows, rng),
    }
    columns = [column("target", "float64", truth.tolist()), column("guess", "float64", guess.tolist())]
    config = {"predicted": "guess", "resamples": 5000}
    yield case("bootstrapped", config, columns, measures(truth, guess), intervals=intervals)
