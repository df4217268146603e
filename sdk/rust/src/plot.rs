//! The figures that reports usually hold, as Vega-Lite specifications with their data inside, for
//! [`Report::plot`](crate::Report::plot). Whoever wants another figure writes its specification.

use serde_json::{Map, Value, json};

/// What an axis shows.
#[derive(Debug, Clone, Copy)]
pub struct Axis<'a> {
    title: &'a str,
    range: Option<[f64; 2]>,
}

impl<'a> Axis<'a> {
    /// An axis as long as its data.
    pub fn new(title: &'a str) -> Self {
        Self { title, range: None }
    }

    /// From 0 to 1.
    pub fn share(title: &'a str) -> Self {
        Self {
            title,
            range: Some([0.0, 1.0]),
        }
    }

    fn encode(self, field: &str, kind: &str) -> Value {
        let mut encoding = json!({"field": field, "type": kind, "title": self.title});
        // An axis of a measured thing need not begin at 0.
        encoding["scale"] = match self.range {
            Some(range) => json!({"domain": range}),
            None => json!({"zero": false}),
        };
        encoding
    }
}

/// Points that belong together.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// What they are; shown where there are several series.
    pub name: String,
    /// x and y.
    pub points: Vec<[f64; 2]>,
}

impl Series {
    /// Points with a name.
    pub fn new(name: impl Into<String>, points: impl IntoIterator<Item = [f64; 2]>) -> Self {
        Self {
            name: name.into(),
            points: points.into_iter().collect(),
        }
    }

    /// At most about `most` of the points, evenly along the series, its ends among them.
    #[must_use]
    pub fn thinned(mut self, most: usize) -> Self {
        let step = self.points.len().div_ceil(most.max(2));
        if step > 1 {
            let last = self.points.len() - 1;
            let mut at = 0..=last;
            self.points
                .retain(|_| at.next().is_some_and(|at| at % step == 0 || at == last));
        }
        self
    }
}

/// A dashed line to compare the data with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Guide {
    /// None.
    None,
    /// y = x, between two values.
    Diagonal(f64, f64),
    /// y = that.
    Level(f64),
}

/// Lines through points, in the order of the points: where several have one x, as a ROC curve has, the
/// line is vertical there.
pub fn curves(x: Axis, y: Axis, guide: Guide, series: &[Series]) -> Value {
    let mark = json!({"type": "line", "tooltip": true});
    layers(mark, x, y, guide, series, true)
}

/// Points.
pub fn scatter(x: Axis, y: Axis, guide: Guide, series: &[Series]) -> Value {
    let mark = json!({"type": "point", "filled": true, "opacity": 0.5, "tooltip": true});
    layers(mark, x, y, guide, series, false)
}

fn layers(mark: Value, x: Axis, y: Axis, guide: Guide, series: &[Series], ordered: bool) -> Value {
    let several = series.len() > 1;
    let values: Vec<Value> = series
        .iter()
        .flat_map(|series| {
            let points = series.points.iter().enumerate();
            points.map(move |(at, [x, y])| {
                let mut value = json!({"x": x, "y": y});
                if ordered {
                    value["at"] = json!(at);
                }
                if several {
                    value["series"] = json!(series.name);
                }
                value
            })
        })
        .collect();
    let mut encoding = json!({
        "x": x.encode("x", "quantitative"),
        "y": y.encode("y", "quantitative"),
    });
    if ordered {
        encoding["order"] = json!({"field": "at", "type": "quantitative"});
    }
    if several {
        encoding["color"] = json!({"field": "series", "type": "nominal", "title": null});
    }
    let mut layers = Vec::new();
    layers.extend(guide.layer());
    layers.push(json!({"mark": mark, "data": {"values": values}, "encoding": encoding}));
    json!({"layer": layers})
}

impl Guide {
    fn layer(self) -> Option<Value> {
        let dashed = |mark: &str| json!({"type": mark, "strokeDash": [4, 4], "color": "gray"});
        match self {
            Self::None => None,
            Self::Level(level) => Some(json!({
                "mark": dashed("rule"),
                "data": {"values": [{"y": level}]},
                "encoding": {"y": {"field": "y", "type": "quantitative"}},
            })),
            Self::Diagonal(from, to) => Some(json!({
                "mark": dashed("line"),
                "data": {"values": [{"x": from, "y": from}, {"x": to, "y": to}]},
                "encoding": {
                    "x": {"field": "x", "type": "quantitative"},
                    "y": {"field": "y", "type": "quantitative"},
                },
            })),
        }
    }
}

/// How often values lie in bands of one width, from `low` to `high`: a bar for each count.
pub fn histogram(x: Axis, low: f64, high: f64, counts: &[u64]) -> Value {
    let width = (high - low) / counts.len().max(1) as f64;
    let values: Vec<Value> = (0..)
        .zip(counts)
        .map(|(band, count)| {
            let from = low + width * f64::from(band);
            json!({"from": from, "to": from + width, "rows": count})
        })
        .collect();
    let mut across = x.encode("from", "quantitative");
    across["bin"] = json!("binned");
    json!({
        "mark": {"type": "bar", "tooltip": true},
        "data": {"values": values},
        "encoding": {
            "x": across,
            "x2": {"field": "to"},
            "y": {"field": "rows", "type": "quantitative", "title": "rows"},
        },
    })
}

/// A matrix as coloured cells with their numbers: `cells[row][column]`. Rows and columns stay in the
/// order of their labels.
pub fn matrix(
    (rows_title, rows): (&str, &[String]),
    (columns_title, columns): (&str, &[String]),
    cells: &[Vec<u64>],
) -> Value {
    let mut values = Vec::new();
    for (row, counts) in rows.iter().zip(cells) {
        let of: u64 = counts.iter().sum();
        for (column, count) in columns.iter().zip(counts) {
            let share = *count as f64 / of.max(1) as f64;
            values.push(json!({"row": row, "column": column, "rows": count, "share": share}));
        }
    }
    let axis = |field: &str, title: &str, labels: &[String]| json!({"field": field, "type": "nominal", "title": title, "sort": labels});
    let mut spec = Map::new();
    spec.insert("data".into(), json!({"values": values}));
    spec.insert(
        "encoding".into(),
        json!({
            "x": axis("column", columns_title, columns),
            "y": axis("row", rows_title, rows),
        }),
    );
    // The colour is the share of the row: classes may be of very different size.
    spec.insert(
        "layer".into(),
        json!([
            {
                "mark": {"type": "rect", "tooltip": true},
                "encoding": {"color": {
                    "field": "share", "type": "quantitative", "title": "share of the row",
                    "scale": {"domain": [0, 1], "scheme": "blues"},
                }},
            },
            {
                "mark": "text",
                "encoding": {
                    "text": {"field": "rows", "type": "quantitative"},
                    "color": {
                        "condition": {"test": "datum.share > 0.5", "value": "white"},
                        "value": "black",
                    },
                },
            },
        ]),
    );
    Value::Object(spec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_keep_their_order_and_series_their_names() {
        let series = [
            Series::new("a", [[0.0, 0.0], [0.0, 1.0], [1.0, 1.0]]),
            Series::new("b", [[0.0, 0.0], [1.0, 1.0]]),
        ];
        let (x, y) = (Axis::share("false positives"), Axis::new("true positives"));
        let plot = curves(x, y, Guide::Diagonal(0.0, 1.0), &series);
        let [guide, lines] = plot["layer"].as_array().map_or(&[][..], Vec::as_slice) else {
            panic!("{plot}")
        };
        assert_eq!(guide["data"]["values"][1], json!({"x": 1.0, "y": 1.0}));
        assert_eq!(
            lines["data"]["values"][1],
            json!({"x": 0.0, "y": 1.0, "at": 1, "series": "a"})
        );
        assert_eq!(lines["data"]["values"][3]["series"], "b");
        let across = &lines["encoding"]["x"];
        assert_eq!(across["title"], "false positives");
        assert_eq!(across["scale"]["domain"], json!([0.0, 1.0]));
        assert_eq!(lines["encoding"]["order"]["field"], "at");

        let plot = scatter(x, y, Guide::None, &series[..1]);
        assert_eq!(plot["layer"].as_array().map(Vec::len), Some(1));
        assert_eq!(
            plot["layer"][0]["data"]["values"][1],
            json!({"x": 0.0, "y": 1.0})
        );
        assert!(plot["layer"][0]["encoding"].get("color").is_none());
        // A layer without data would show nothing.
        let plot = scatter(x, y, Guide::Level(0.5), &series);
        assert_eq!(plot["layer"][0]["data"]["values"], json!([{"y": 0.5}]));
    }

    #[test]
    fn a_thinned_series_keeps_its_ends() {
        let of = |points: u32, most| {
            let series = Series::new("", (0..points).map(|x| [f64::from(x), 0.0]));
            let thinned = series.thinned(most).points;
            thinned.iter().map(|point| point[0]).collect::<Vec<_>>()
        };
        assert_eq!(of(5, 5), [0.0, 1.0, 2.0, 3.0, 4.0]);
        assert_eq!(of(8, 3), [0.0, 3.0, 6.0, 7.0]);
        assert_eq!(of(1000, 2), [0.0, 500.0, 999.0]);
        assert!(of(0, 3).is_empty());
    }

    #[test]
    fn a_matrix_has_a_cell_for_each_pair() {
        let labels = ["cat".to_owned(), "dog".to_owned()];
        let cells = [vec![3, 1], vec![0, 0]];
        let plot = matrix(("actual", &labels), ("predicted", &labels), &cells);
        let values = &plot["data"]["values"];
        assert_eq!(
            values[1],
            json!({"row": "cat", "column": "dog", "rows": 1, "share": 0.25})
        );
        // A row of nothing has shares of nothing.
        assert_eq!(values[3]["share"], 0.0);
        assert_eq!(plot["encoding"]["y"]["sort"], json!(["cat", "dog"]));
    }

    #[test]
    fn bars_cover_the_range() {
        let plot = histogram(Axis::new("error"), -1.0, 1.0, &[1, 2, 3, 4]);
        let values = &plot["data"]["values"];
        assert_eq!(values[0]["from"], -1.0);
        assert_eq!(values[3], json!({"from": 0.5, "to": 1.0, "rows": 4}));
    }
}
