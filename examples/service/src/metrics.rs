//! Counters, as a page for Prometheus.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use matou_http::runtime::now;

use crate::{App, lock};

#[derive(Default)]
pub(crate) struct Metrics {
    /// By status.
    requests: Mutex<BTreeMap<u16, u64>>,
    microseconds: AtomicU64,
    pub(crate) jobs_done: AtomicU64,
    pub(crate) jobs_failed: AtomicU64,
}

/// Counts each request with its status and time.
pub(crate) async fn count(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let begun = now();
    let response = next.run(request).await;
    let micros = u64::try_from((now() - begun).as_micros()).unwrap_or(u64::MAX);
    app.metrics.microseconds.fetch_add(micros, Relaxed);
    let status = response.status().as_u16();
    *lock(&app.metrics.requests).entry(status).or_default() += 1;
    response
}

impl Metrics {
    pub(crate) fn render(&self, waiting: usize, watching: usize, tasks: usize) -> String {
        let mut page = String::from("# TYPE service_requests_total counter\n");
        for (status, count) in &*lock(&self.requests) {
            let _ = writeln!(page, "service_requests_total{{status=\"{status}\"}} {count}");
        }
        let seconds = self.microseconds.load(Relaxed) as f64 / 1e6;
        let values = [
            ("request_seconds_total", "counter", seconds),
            ("jobs_done_total", "counter", self.jobs_done.load(Relaxed) as f64),
            ("jobs_failed_total", "counter", self.jobs_failed.load(Relaxed) as f64),
            ("jobs_waiting", "gauge", waiting as f64),
            ("live_clients", "gauge", watching as f64),
            ("tasks", "gauge", tasks as f64),
        ];
        for (name, kind, value) in values {
            let _ = writeln!(page, "# TYPE service_{name} {kind}\nservice_{name} {value}");
        }
        page
    }
}
