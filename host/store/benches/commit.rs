//! Durable commits per second by number of writers, and random reads.
//! `cargo bench -p tenon-store --bench commit`

use std::time::{Duration, Instant};

use tenon_store::{Backend, Store, StoreError, StoreOptions, Transaction};

const TIME: Duration = Duration::from_millis(1500);

fn main() -> Result<(), StoreError> {
    println!("backend  writers  durable commits/s");
    for backend in [Backend::Redb, Backend::Sled] {
        for writers in [1, 8, 64] {
            let rate = commits(backend, writers)?;
            println!("{:7}  {writers:7}  {rate:17.0}", backend.name());
        }
    }
    println!("\nbackend  records  random get/s");
    for backend in [Backend::Redb, Backend::Sled] {
        let rate = reads(backend, 50_000)?;
        println!("{:7}  {:7}  {rate:12.0}", backend.name(), 50_000);
    }
    Ok(())
}

/// In the working directory's target folder rather than in memory: fsync must be real.
fn folder() -> Result<tempfile::TempDir, StoreError> {
    let base = std::env::current_exe().ok();
    let base = base.as_deref().and_then(|exe| exe.parent());
    let folder = match base {
        Some(base) => tempfile::tempdir_in(base),
        None => tempfile::tempdir(),
    };
    folder.map_err(|error| StoreError::InvalidArgument(error.to_string()))
}

fn commits(backend: Backend, writers: u64) -> Result<f64, StoreError> {
    let folder = folder()?;
    let store = Store::open(folder.path(), StoreOptions::with_backend(backend))?;
    let started = Instant::now();
    let done: Result<Vec<u64>, StoreError> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..writers)
            .map(|writer| {
                let store = store.clone();
                scope.spawn(move || {
                    let mut done = 0_u64;
                    while started.elapsed() < TIME {
                        let key = [writer.to_be_bytes(), done.to_be_bytes()].concat();
                        store.commit(Transaction::new().put("t", key, [7; 200]))?;
                        done += 1;
                    }
                    Ok(done)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or(Ok(0)))
            .collect()
    });
    Ok(done?.iter().sum::<u64>() as f64 / started.elapsed().as_secs_f64())
}

fn reads(backend: Backend, records: u64) -> Result<f64, StoreError> {
    let folder = folder()?;
    let store = Store::open(folder.path(), StoreOptions::with_backend(backend))?;
    for start in (0..records).step_by(5000) {
        let mut transaction = Transaction::new();
        for key in start..start + 5000 {
            transaction.add_put("t", key.to_be_bytes(), [7; 200]);
        }
        store.commit(transaction)?;
    }
    let started = Instant::now();
    let mut done = 0_u64;
    while started.elapsed() < TIME {
        for _ in 0..100 {
            let key = done.wrapping_mul(0x9e37_79b9_7f4a_7c15) % records;
            if store.get("t", key.to_be_bytes())?.is_none() {
                return Err(StoreError::InvalidArgument(format!("{key} is missing")));
            }
            done += 1;
        }
    }
    Ok(done as f64 / started.elapsed().as_secs_f64())
}
