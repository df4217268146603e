//! Counters in Prometheus' text format.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use axum::http::Method;
use parking_lot::Mutex;

use crate::app::App;
use crate::error::Result;
use crate::native;

/// Upper bounds of the latency buckets, in seconds: from a cached read to a long upload.
const BOUNDS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0,
];

/// What was counted since the process began.
#[derive(Default)]
pub(crate) struct Metrics {
    /// Method, route, status → requests.
    requests: Mutex<BTreeMap<(String, String, u16), u64>>,
    /// Route → how long until the answer began.
    latency: Mutex<BTreeMap<String, Histogram>>,
}

#[derive(Clone, Copy, Default)]
struct Histogram {
    /// The last one: above all bounds.
    buckets: [u64; BOUNDS.len() + 1],
    seconds: f64,
}

impl Metrics {
    /// Counts a request. `route` is the pattern, not the path: there are only so many.
    pub(crate) fn request(&self, method: &Method, route: &str, status: u16, elapsed: Duration) {
        // A method can be any word that a client makes up.
        let method = match method.as_str() {
            known @ ("GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS") => known,
            _ => "other",
        };
        let key = (method.to_owned(), route.to_owned(), status);
        *self.requests.lock().entry(key).or_default() += 1;
        let seconds = elapsed.as_secs_f64();
        let bucket = BOUNDS.iter().take_while(|bound| seconds > **bound).count();
        let mut latency = self.latency.lock();
        let histogram = latency.entry(route.to_owned()).or_default();
        histogram.buckets[bucket] += 1;
        histogram.seconds += seconds;
    }
}

/// Memory of this process that is in use, where the system tells.
pub(crate) fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// Everything as text.
pub(crate) fn render(app: &App) -> Result<String> {
    let mut page = Page::default();
    process(&mut page, app);
    requests(&mut page, app);
    store(&mut page, app);
    page.family("tenon_runs", "gauge", "Runs by status.");
    for (status, count) in native::runs_by_status(app)? {
        page.sample("tenon_runs", &[("status", &status)], count as f64);
    }
    deployments(&mut page, app);
    Ok(page.0)
}

fn process(page: &mut Page, app: &App) {
    page.family("tenon_build_info", "gauge", "Always 1.");
    page.sample("tenon_build_info", &[("version", native::VERSION)], 1.0);
    if let Some(bytes) = resident_bytes() {
        let name = "process_resident_memory_bytes";
        page.family(name, "gauge", "Memory of the process that is in use.");
        page.sample(name, &[], bytes as f64);
    }
    let name = "process_start_time_seconds";
    page.family(name, "gauge", "When the process began, seconds since 1970.");
    page.sample(name, &[], app.started.as_millisecond() as f64 / 1e3);
}

fn requests(page: &mut Page, app: &App) {
    let name = "tenon_http_requests_total";
    page.family(name, "counter", "Requests that were answered.");
    for ((method, route, status), count) in app.metrics.requests.lock().iter() {
        let status = status.to_string();
        let labels = [("method", &**method), ("route", route), ("status", &status)];
        page.sample(name, &labels, *count as f64);
    }
    let name = "tenon_http_request_duration_seconds";
    page.family(name, "histogram", "Time until an answer began.");
    for (route, histogram) in app.metrics.latency.lock().iter() {
        page.histogram(name, route, histogram);
    }
}

fn store(page: &mut Page, app: &App) {
    let status = native::store_status(app);
    let name = "tenon_store_transactions_total";
    page.family(name, "counter", "Transactions of the store.");
    page.sample(name, &[], status.transactions as f64);
    let name = "tenon_store_commits_total";
    page.family(
        name,
        "counter",
        "Groups of transactions, one wait for the disk each.",
    );
    page.sample(name, &[], status.commit_groups as f64);
    let name = "tenon_store_free_bytes";
    page.family(name, "gauge", "Bytes available on the data folder's disk.");
    page.sample(name, &[], status.free_bytes as f64);
    let name = "tenon_store_writable";
    page.family(name, "gauge", "1 while the store takes writes.");
    page.sample(name, &[], f64::from(u8::from(status.state == "writable")));
}

fn deployments(page: &mut Page, app: &App) {
    let deployments = app.deployments.list();
    let name = "tenon_deployment_ready";
    page.family(name, "gauge", "1 while the deployment's model is loaded.");
    for one in &deployments {
        let ready = one.state == tenon_serve::DeploymentState::Ready;
        page.sample(
            name,
            &[("deployment", &one.name)],
            f64::from(u8::from(ready)),
        );
    }
    let name = "tenon_deployment_requests_total";
    page.family(name, "counter", "Requests by what became of them.");
    for one in &deployments {
        let counters = &one.counters;
        for (outcome, count) in [
            ("accepted", counters.requests),
            ("error", counters.errors),
            ("cancelled", counters.cancelled),
            ("refused", counters.refused),
        ] {
            let labels = [("deployment", &*one.name), ("outcome", outcome)];
            page.sample(name, &labels, count as f64);
        }
    }
    let name = "tenon_deployment_tokens_total";
    page.family(name, "counter", "Tokens that were read and generated.");
    for one in &deployments {
        for (kind, count) in [
            ("prompt", one.counters.prompt_tokens),
            ("generated", one.counters.tokens),
        ] {
            let labels = [("deployment", &*one.name), ("kind", kind)];
            page.sample(name, &labels, count as f64);
        }
    }
    let name = "tenon_deployment_in_flight";
    page.family(name, "gauge", "Requests that are being served or wait.");
    for one in &deployments {
        let labels = [("deployment", &*one.name)];
        page.sample(name, &labels, one.counters.in_flight as f64);
    }
    let name = "tenon_deployment_latency_seconds";
    page.family(
        name,
        "summary",
        "From a request's arrival to its whole answer.",
    );
    for one in &deployments {
        let latency = &one.counters.latency;
        for (quantile, seconds) in [
            ("0.5", latency.p50),
            ("0.95", latency.p95),
            ("0.99", latency.p99),
        ] {
            let labels = [("deployment", &*one.name), ("quantile", quantile)];
            page.sample(name, &labels, seconds);
        }
        let labels = [("deployment", &*one.name)];
        page.sample(&format!("{name}_sum"), &labels, latency.sum);
        page.sample(&format!("{name}_count"), &labels, latency.count as f64);
    }
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            self.0.push(if index == 0 { '{' } else { ',' });
            let _ = write!(self.0, "{label}=\"{}\"", escaped(text));
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }

    fn histogram(&mut self, name: &str, route: &str, histogram: &Histogram) {
        let mut total = 0;
        for (bucket, count) in histogram.buckets.iter().enumerate() {
            total += count;
            let bound = BOUNDS.get(bucket).map_or("+Inf".to_owned(), f64::to_string);
            let labels = [("route", route), ("le", &*bound)];
            self.sample(&format!("{name}_bucket"), &labels, total as f64);
        }
        let labels = [("route", route)];
        self.sample(&format!("{name}_sum"), &labels, histogram.seconds);
        self.sample(&format!("{name}_count"), &labels, total as f64);
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_is_cumulative() {
        let metrics = Metrics::default();
        for millis in [0, 1, 3, 700, 60_000] {
            metrics.request(&Method::GET, "/x", 200, Duration::from_millis(millis));
        }
        let mut page = Page::default();
        page.histogram("h", "/x", &metrics.latency.lock()["/x"]);
        let line = |wanted: &str| page.0.lines().any(|line| line == wanted);
        assert!(line("h_bucket{route=\"/x\",le=\"0.001\"} 2"), "{}", page.0);
        assert!(line("h_bucket{route=\"/x\",le=\"0.005\"} 3"), "{}", page.0);
        assert!(line("h_bucket{route=\"/x\",le=\"1\"} 4"), "{}", page.0);
        assert!(line("h_bucket{route=\"/x\",le=\"+Inf\"} 5"), "{}", page.0);
        assert!(line("h_count{route=\"/x\"} 5"), "{}", page.0);
        assert!(page.0.contains("h_sum{route=\"/x\"} 60.704"), "{}", page.0);
    }

    #[test]
    fn methods_are_a_closed_set_and_labels_are_escaped() {
        let metrics = Metrics::default();
        let odd = Method::from_bytes(b"BREW").unwrap_or_default();
        metrics.request(&odd, "/x", 405, Duration::ZERO);
        assert!(
            metrics
                .requests
                .lock()
                .contains_key(&("other".into(), "/x".into(), 405))
        );
        assert_eq!(escaped("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }
}
