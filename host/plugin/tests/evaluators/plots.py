"""Whether specifications are Vega-Lite."""

import altair


def check(specifications):
    assert specifications, "there are no plots to check"
    for name, specification in specifications:
        try:
            altair.Chart.from_dict(specification, validate=True)
        except Exception as error:
            raise SystemExit(f"the plot {name!r} is no Vega-Lite: {error}")
    print(len(specifications))
