//! Appending metric points durably, reading a curve, logging one by one, searching runs.
//! `cargo bench -p tenon-track --bench metrics`

use std::time::Instant;

use tenon_store::{Store, StoreOptions};
use tenon_track::{NewRun, Point, RunKind, RunQuery, StepRange, TrackError, Tracker};

fn main() -> Result<(), TrackError> {
    let base = std::env::current_exe().ok();
    let base = base.as_deref().and_then(|exe| exe.parent());
    let folder = match base {
        Some(base) => tempfile::tempdir_in(base),
        None => tempfile::tempdir(),
    };
    let folder = folder.map_err(|error| TrackError::Invalid(error.to_string()))?;
    let store = Store::open(folder.path(), StoreOptions::default())?;
    let tracker = Tracker::open(&store)?;

    let points: Vec<Point> = (0..1_000_000)
        .map(|step| Point {
            step,
            time_ms: 1_700_000_000_000 + step,
            value: (step as f64).sqrt(),
        })
        .collect();
    let id = tracker.create_run(NewRun::new(RunKind::Train))?.id;
    let started = Instant::now();
    for part in points.chunks(10_000) {
        tracker.log_points(&id, "bulk", part)?;
    }
    tracker.flush()?;
    let rate = points.len() as f64 / started.elapsed().as_secs_f64();
    println!("points appended in bulk, durable   {rate:12.0} /s");

    let started = Instant::now();
    for step in 0..200_000 {
        tracker.log(&id, step, &[("loss", 1.0), ("lr", 2.0), ("tokens", 3.0)])?;
    }
    tracker.flush()?;
    let rate = 600_000.0 / started.elapsed().as_secs_f64();
    println!("points logged three by three       {rate:12.0} /s");

    tracker.log_points(&id, "curve", &points[..100_000])?;
    tracker.flush()?;
    drop(tracker);
    let tracker = Tracker::open(&store)?;
    let best = |what: &str, mut read: Box<dyn FnMut() -> Result<usize, TrackError>>| {
        let mut best = f64::INFINITY;
        let mut count = 0;
        for _ in 0..30 {
            let started = Instant::now();
            count = read()?;
            best = best.min(started.elapsed().as_secs_f64());
        }
        println!("{what:34} {:12.3} ms ({count})", best * 1e3);
        Ok::<_, TrackError>(())
    };
    let (reader, run) = (tracker.clone(), id.clone());
    best(
        "100,000 points of a curve read",
        Box::new(move || Ok(reader.history(&run, "curve", StepRange::default())?.len())),
    )?;
    let (reader, run) = (tracker.clone(), id.clone());
    best(
        "1,000,000 points as 500 buckets",
        Box::new(move || {
            Ok(reader
                .overview(&run, "bulk", StepRange::default(), 500)?
                .len())
        }),
    )?;

    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for _ in 0..125 {
                    let _ = tracker.create_run(NewRun::new(RunKind::Train));
                }
            });
        }
    });
    let rate = 2_000.0 / started.elapsed().as_secs_f64();
    println!("runs created by 16 threads, durable {rate:11.0} /s");
    best(
        "search, 20 of 2,000 runs",
        Box::new(move || {
            let query = RunQuery {
                limit: Some(20),
                ..RunQuery::default()
            };
            Ok(tracker.search(&query)?.runs.len())
        }),
    )
}
