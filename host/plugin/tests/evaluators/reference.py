"""What scikit-learn, SciPy, sacreBLEU and rouge-score say, for the evaluators to be compared with.

`reference.py classification|regression|text SEED` prints JSON: a list of cases, each with an evaluator's
configuration, columns, and the metrics that must come out (`null`: must be left out). `reference.py plots`
reads Vega-Lite specifications from standard input and checks them against their schema.
"""

import json
import sys
import warnings

import numpy as np

warnings.simplefilter("ignore")


def column(name, kind, values):
    return {"name": name, "type": kind, "values": values}


def number(value):
    """A number of JSON; `None` for what is not defined."""
    value = float(value)
    return value if np.isfinite(value) else None


def case(name, config, columns, expected, **more):
    expected = {key: None if value is None else number(value) for key, value in expected.items()}
    return {"name": name, "config": config, "columns": columns, "expected": expected, **more}


def percentiles(statistic, rows, rng, resamples=5000):
    """SciPy's percentile bootstrap of rows: its ends, and how far off those of another draw may be."""
    from scipy.stats import bootstrap

    found = bootstrap(
        (np.arange(rows),),
        lambda drawn: statistic(drawn),
        vectorized=False,
        n_resamples=resamples,
        method="percentile",
        random_state=rng,
    )
    # Of 2,000 draws an end is off by 0.06 standard deviations or so, and the evaluator's is too.
    ends = found.confidence_interval
    return [ends.low, ends.high, 0.35 * found.standard_error]


def main():
    what = sys.argv[1]
    if what == "plots":
        from plots import check

        return check(json.load(sys.stdin))
    rng = np.random.default_rng(int(sys.argv[2]))
    module = __import__(f"{what}_cases")
    json.dump(list(module.cases(rng)), sys.stdout, allow_nan=False)


if __name__ == "__main__":
    main()
