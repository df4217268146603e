//! Metrics: what was logged comes back, from memory and disk alike; crashes, rewinding, overviews.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant};

use common::{open, running, tracker};
use tenon_track::{CHUNK_POINTS, Point, RunStatus, StepRange, Tracker};

fn curve(count: i64) -> Vec<Point> {
    (0..count)
        .map(|step| Point {
            step,
            time_ms: 1_700_000_000_000 + step * 13,
            value: ((step * 37) % 1001) as f64 - 500.0,
        })
        .collect()
}

fn all(tracker: &Tracker, id: &str, metric: &str) -> Vec<Point> {
    tracker.history(id, metric, StepRange::default()).unwrap()
}

#[test]
fn points_come_back_whether_in_memory_on_disk_or_both() {
    let (folder, tracker) = tracker();
    let id = running(&tracker, "r").id;
    let points = curve(5_321);
    let mut logged = 0;
    // Flush at odd places: within a chunk, at its end, several chunks at once.
    for size in [1, 999, 1, 500, 1499, 700, 1621] {
        tracker
            .log_points(&id, "loss", &points[logged..logged + size])
            .unwrap();
        logged += size;
        assert!(
            all(&tracker, &id, "loss") == points[..logged],
            "unflushed {logged}"
        );
        tracker.flush().unwrap();
        assert!(
            all(&tracker, &id, "loss") == points[..logged],
            "flushed {logged}"
        );
        assert_eq!(
            tracker.run(&id).unwrap().metrics["loss"].count,
            logged as u64
        );
    }
    assert_eq!(logged, points.len());
    drop(tracker);

    let tracker = open(folder.path());
    assert!(all(&tracker, &id, "loss") == points, "after opening again");
    // Going on continues the last chunk.
    let more = curve(6_000);
    tracker.log_points(&id, "loss", &more[logged..]).unwrap();
    assert!(all(&tracker, &id, "loss") == more);
    let summary = tracker.run(&id).unwrap().metrics["loss"];
    assert_eq!((summary.count, summary.step), (6_000, 5_999));
    assert_eq!((summary.min, summary.max), (-500.0, 500.0));
    assert!(all(&tracker, &id, "nothing").is_empty());
    assert!(
        tracker
            .history("nobody", "loss", StepRange::default())
            .is_err()
    );
}

#[test]
fn metrics_with_similar_names_do_not_mix() {
    let (_folder, tracker) = tracker();
    let id = running(&tracker, "r").id;
    let names = ["loss", "loss/train", "los", "loss ", "损失"];
    for (index, name) in names.iter().enumerate() {
        tracker
            .log(&id, index as i64, &[(name, index as f64)])
            .unwrap();
    }
    tracker.flush().unwrap();
    for (index, name) in names.iter().enumerate() {
        let points = all(&tracker, &id, name);
        assert_eq!(points.len(), 1, "{name}");
        assert_eq!(points[0].value, index as f64);
    }
    for bad in ["", "a\nb", "a\0b", &"x".repeat(251)] {
        assert!(tracker.log(&id, 0, &[(bad, 1.0)]).is_err(), "{bad:?}");
    }
}

#[test]
fn a_range_returns_exactly_its_steps() {
    let (_folder, tracker) = tracker();
    let id = running(&tracker, "r").id;
    let points = curve(4_500);
    tracker.log_points(&id, "m", &points).unwrap();
    for flushed in [false, true] {
        if flushed {
            tracker.end_run(&id, RunStatus::Finished, None).unwrap();
        }
        for (from, to) in [
            (0, 0),
            (999, 1000),
            (1500, 3500),
            (4400, 9000),
            (-5, -1),
            (3, 2),
        ] {
            let range = StepRange {
                from: Some(from),
                to: Some(to),
            };
            let want: Vec<Point> = points
                .iter()
                .filter(|p| from <= p.step && p.step <= to)
                .copied()
                .collect();
            assert!(
                tracker.history(&id, "m", range).unwrap() == want,
                "{from}..={to}"
            );
        }
    }
}

#[test]
fn not_a_number_is_a_value() {
    let (_folder, tracker) = tracker();
    let id = running(&tracker, "r").id;
    tracker.log(&id, 0, &[("loss", 1.0)]).unwrap();
    tracker.log(&id, 1, &[("loss", f64::NAN)]).unwrap();
    tracker.log(&id, 2, &[("up", f64::INFINITY)]).unwrap();
    tracker.flush().unwrap();
    let run = tracker.run(&id).unwrap();
    let json = serde_json::to_value(&run).unwrap();
    assert_eq!(json["metrics"]["loss"]["last"], "NaN");
    assert_eq!(json["metrics"]["loss"]["min"], 1.0);
    assert_eq!(json["metrics"]["up"]["last"], "Infinity");
    let point = serde_json::to_string(&all(&tracker, &id, "loss")[1]).unwrap();
    let back: Point = serde_json::from_str(&point).unwrap();
    assert!(back.value.is_nan());
    let bucket = tracker
        .overview(&id, "loss", StepRange::default(), 1)
        .unwrap()[0];
    assert_eq!((bucket.count, bucket.nans, bucket.mean), (2, 1, 1.0));
}

#[test]
fn overviews_agree_with_the_points() {
    let (_folder, tracker) = tracker();
    let id = running(&tracker, "r").id;
    let points = curve(12_345);
    tracker.log_points(&id, "m", &points[..11_000]).unwrap();
    tracker.flush().unwrap();
    tracker.log_points(&id, "m", &points[11_000..]).unwrap();
    // Below and above the number of chunks: from roll-ups and from points.
    for max in [1, 5, 13, 14, 200, 20_000] {
        let buckets = tracker
            .overview(&id, "m", StepRange::default(), max)
            .unwrap();
        assert!(
            buckets.len() <= max && buckets.len() * 2 >= max.min(13),
            "{max}"
        );
        let mut rest = &points[..];
        for bucket in &buckets {
            let (mine, after) = rest.split_at(bucket.count as usize);
            rest = after;
            let values = || mine.iter().map(|p| p.value);
            assert_eq!(bucket.first_step, mine[0].step);
            assert_eq!(bucket.last_step, mine[mine.len() - 1].step);
            assert_eq!(bucket.last, mine[mine.len() - 1].value);
            assert_eq!(bucket.min, values().fold(f64::INFINITY, f64::min));
            assert_eq!(bucket.max, values().fold(f64::NEG_INFINITY, f64::max));
            let mean = values().sum::<f64>() / mine.len() as f64;
            assert!((bucket.mean - mean).abs() < 1e-9);
        }
        assert!(rest.is_empty());
    }
    let end = StepRange {
        from: Some(12_000),
        to: None,
    };
    let buckets = tracker.overview(&id, "m", end, 100).unwrap();
    let count: u64 = buckets.iter().map(|b| b.count).sum();
    assert_eq!((buckets[0].first_step, count), (12_000, 345));
}

#[test]
fn rewinding_forgets_the_points_after_a_step() {
    let (folder, tracker) = tracker();
    let id = running(&tracker, "r").id;
    let points = curve(3_700);
    tracker.log_points(&id, "loss", &points).unwrap();
    tracker.log_points(&id, "late", &points[2_500..]).unwrap();
    tracker.log(&id, 10, &[("early", 1.0)]).unwrap();
    tracker.rewind(&id, 2_200).unwrap();
    let run = tracker.run(&id).unwrap();
    assert_eq!(run.metrics.keys().collect::<Vec<_>>(), ["early", "loss"]);
    assert!(all(&tracker, &id, "loss") == points[..2_201]);
    assert!(all(&tracker, &id, "late").is_empty());
    assert_eq!(run.metrics["loss"].last, points[2_200].value);
    // The resumed run logs them again: as if nothing had happened.
    tracker.log_points(&id, "loss", &points[2_201..]).unwrap();
    tracker.end_run(&id, RunStatus::Finished, None).unwrap();
    drop(tracker);
    let tracker = open(folder.path());
    assert!(all(&tracker, &id, "loss") == points);
    assert_eq!(all(&tracker, &id, "early").len(), 1);
    let buckets = tracker
        .overview(&id, "loss", StepRange::default(), 2)
        .unwrap();
    assert_eq!(buckets.iter().map(|b| b.count).sum::<u64>(), 3_700);
}

#[test]
fn points_reach_the_disk_within_about_a_second_by_themselves() {
    let (_folder, tracker) = tracker();
    let id = running(&tracker, "r").id;
    tracker.log(&id, 1, &[("loss", 1.0)]).unwrap();
    let stored = || {
        let summaries = tracker.store().get("metric-summaries", &id).unwrap();
        summaries.is_some()
    };
    assert!(!stored());
    let started = Instant::now();
    while !stored() {
        assert!(started.elapsed() < Duration::from_secs(5), "never flushed");
        std::thread::sleep(Duration::from_millis(20));
    }
    // The rest of the points are in the dropped tracker's hands.
    tracker.log(&id, 2, &[("loss", 2.0)]).unwrap();
    let store = tracker.store().clone();
    drop(tracker);
    let tracker = Tracker::open(&store).unwrap();
    assert_eq!(all(&tracker, &id, "loss").len(), 2);
}

#[test]
fn purging_removes_every_record_of_the_run_and_no_other() {
    let (_folder, tracker) = tracker();
    let (a, b) = (running(&tracker, "a").id, running(&tracker, "b").id);
    for id in [&a, &b] {
        tracker.log_points(id, "m", &curve(2_100)).unwrap();
        tracker.end_run(id, RunStatus::Finished, None).unwrap();
    }
    tracker.purge_run(&a).unwrap();
    let count = |table: &str| {
        let all = tracker.store().scan(table, Default::default()).unwrap();
        all.len()
    };
    assert_eq!((count("metric-chunks"), count("metric-rollups")), (3, 3));
    assert_eq!((count("metric-summaries"), count("runs")), (1, 1));
    assert_eq!(all(&tracker, &b, "m").len(), 2_100);
}

#[test]
fn threads_that_log_while_others_flush_and_read_lose_nothing() {
    let (folder, tracker) = tracker();
    let id = running(&tracker, "r").id;
    let points = curve(20 * CHUNK_POINTS as i64 + 7);
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (tracker, id, points) = (&tracker, &id, &points);
            scope.spawn(move || {
                let metric = format!("m{thread}");
                for part in points.chunks(331) {
                    tracker.log_points(id, &metric, part).unwrap();
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..30 {
                tracker.flush().unwrap();
                let seen = all(&tracker, &id, "m1");
                assert!(seen == points[..seen.len()], "a reader sees a prefix");
            }
        });
    });
    drop(tracker);
    let tracker = open(folder.path());
    for thread in 0..3 {
        assert!(all(&tracker, &id, &format!("m{thread}")) == points);
    }
}

#[test]
fn a_full_disk_keeps_points_in_memory_until_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let options = tenon_store::StoreOptions::default();
    let faults = options.faults.clone();
    let store = tenon_store::Store::open(folder.path(), options).unwrap();
    let tracker = Tracker::open(&store).unwrap();
    let id = running(&tracker, "r").id;
    faults.pretend_free(Some(0));
    let points = curve(2_500);
    tracker.log_points(&id, "m", &points).unwrap();
    assert!(tracker.flush().is_err());
    let error = tracker.set_tags(&id, [("a".to_owned(), "b".to_owned())]);
    assert!(error.unwrap_err().to_string().contains("disk full"));
    assert!(
        tracker.run(&id).unwrap().tags.is_empty(),
        "refused is not shown"
    );
    assert!(all(&tracker, &id, "m") == points);
    faults.pretend_free(None);
    tracker.flush().unwrap();
    drop((tracker, store));
    assert!(all(&open(folder.path()), &id, "m") == points);
}
