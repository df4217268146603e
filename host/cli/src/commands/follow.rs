//! Following a run until it ends, and what Ctrl-C means meanwhile.

use std::collections::BTreeMap;
use std::io;
use std::process;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tenon_api::types::{EndEvent, ErrorBody, LogEvent, MetricEvent, ProgressEvent, event};
use tenon_track::{Progress, Run, RunKind, RunStatus};

use super::Context;
use crate::client::{Client, Event, Request};
use crate::failure::{Exit, Failure, Result};
use crate::output::progress::{Meter, say_line};
use crate::output::text;
use crate::signals;

/// What Ctrl-C does to the run that is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnInterrupt {
    /// Stops it once, and leaves the second time.
    Stop,
    /// Only following ends.
    Leave,
}

/// How long a lost connection is looked for.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(500);

/// The event of a stream that cannot go on.
const ERROR: &str = "error";

enum Message {
    Event(Event),
    /// The stream could not be had, was cut off, or ended without an end of the run.
    Closed(Failure),
    Interrupt,
}

/// Follows a run that this command has started: says how far it is, prints how it ended, and fails if it
/// did not go well. `render` shows the end to people; the JSON is the run with its `report`.
pub fn to_the_end(
    context: &Context,
    client: &Client,
    run: &Run,
    render: impl FnOnce(&EndEvent, &mut crate::output::Page),
) -> Result<()> {
    let end = follow(context, client, run, OnInterrupt::Stop, false)?;
    if context.output.is_json() {
        let mut run = end["run"].clone();
        run["report"] = end["report"].clone();
        context.output.document(&run)?;
    } else if end["run"]["status"] == RunStatus::Finished.name() {
        context.output.answer(end.clone(), render)?;
    }
    verdict(&end)
}

/// Prints a run that was left to the server.
pub fn detached(context: &Context, client: &Client, run: Value) -> Result<()> {
    let server = client.server().unwrap_or_default().to_owned();
    context.output.answer(run, |run: &Run, page| {
        page.line(format!(
            "{} ({}) is {} at {server}",
            run.name,
            run.id,
            run.status.name()
        ));
        page.line(format!("follow it with: tenon runs follow {}", run.id));
    })
}

/// Follows a run; the data of its event `end`. With `lines` every event is printed as a line of JSON.
pub fn follow(
    context: &Context,
    client: &Client,
    run: &Run,
    on_interrupt: OnInterrupt,
    lines: bool,
) -> Result<Value> {
    let (send, receive) = mpsc::channel();
    let interrupts = send.clone();
    signals::watch(move || {
        let _ = interrupts.send(Message::Interrupt);
    })?;
    let mut follower = Follower {
        context,
        client,
        run,
        on_interrupt,
        lines,
        meter: match run.kind {
            RunKind::Train | RunKind::Evaluate | RunKind::Sweep => Meter::eager(),
            _ => Meter::new(),
        },
        face: Face::default(),
        last_step: None,
        last_line: 0,
        interrupted: false,
        send,
    };
    follower.listen();
    follower.run(&receive)
}

struct Follower<'a> {
    context: &'a Context,
    client: &'a Client,
    run: &'a Run,
    on_interrupt: OnInterrupt,
    lines: bool,
    meter: Meter,
    face: Face,
    last_step: Option<i64>,
    last_line: u64,
    interrupted: bool,
    send: Sender<Message>,
}

impl Follower<'_> {
    /// Reads the run's events on a thread of its own: reading blocks, and Ctrl-C must not wait for it.
    fn listen(&self) {
        let (client, run, from) = (self.client.clone(), self.run.id.clone(), self.last_step);
        let send = self.send.clone();
        thread::spawn(move || {
            let mut closed = Failure::failed("unreachable", "the events of the run were cut off");
            match client.events(&run, from) {
                Err(failure) => closed = failure,
                Ok(events) => {
                    // An error ends them as their end does: what counts is that the run's end is missing.
                    for event in events.map_while(io::Result::ok) {
                        if send.send(Message::Event(event)).is_err() {
                            return;
                        }
                    }
                }
            }
            let _ = send.send(Message::Closed(closed));
        });
    }

    fn run(&mut self, messages: &Receiver<Message>) -> Result<Value> {
        let mut lost: Option<Instant> = None;
        loop {
            // `self` holds a sender: the channel never closes.
            let Ok(message) = messages.recv() else {
                return Err(Failure::failed("internal", "nothing is left to wait for"));
            };
            match message {
                Message::Event(event) => {
                    lost = None;
                    if let Some(end) = self.event(&event)? {
                        return Ok(end);
                    }
                }
                Message::Closed(failure) => {
                    let since = *lost.get_or_insert_with(Instant::now);
                    // A run that is gone stays gone; a server may come back.
                    if failure.exit == Exit::Usage || since.elapsed() > PATIENCE {
                        return Err(self.lost(failure));
                    }
                    tracing::debug!(reason = failure.message(), "following again");
                    thread::sleep(PAUSE);
                    self.listen();
                }
                Message::Interrupt => self.interrupt()?,
            }
        }
    }

    fn event(&mut self, event: &Event) -> Result<Option<Value>> {
        let data: Value = serde_json::from_str(&event.data).map_err(|error| {
            Failure::failed(
                "protocol",
                format!("an event of the run is no JSON: {error}"),
            )
        })?;
        if event.name == event::END {
            return self.ended(data).map(Some);
        }
        if self.lines {
            self.line(&event.name, &data)?;
        }
        match event.name.as_str() {
            event::PROGRESS => {
                if let Ok(progress) = serde_json::from_value::<ProgressEvent>(data) {
                    self.face.status = Some(progress.status);
                    self.face.progress = progress.progress;
                }
            }
            event::METRIC => {
                if let Ok(metric) = serde_json::from_value::<MetricEvent>(data)
                    && let Some(point) = metric.points.last()
                {
                    self.last_step = self.last_step.max(Some(point.step));
                    self.face.metrics.insert(metric.metric, point.value);
                }
            }
            event::LOG => {
                if let Ok(log) = serde_json::from_value::<LogEvent>(data) {
                    self.log(&log);
                }
            }
            ERROR => {
                let failure = match serde_json::from_value::<ErrorBody>(data) {
                    Ok(body) => Failure::answered(404, body.error),
                    Err(_) => Failure::failed("protocol", "the run cannot be followed"),
                };
                return Err(failure);
            }
            // A newer server may say more.
            _ => return Ok(None),
        }
        // What a run says when nothing is known yet is not worth a line.
        if self.face.progress.is_none() && self.face.status != Some(RunStatus::Queued) {
            return Ok(None);
        }
        let (done, total) = self.face.position();
        self.meter.show(done, total, &self.face.text(self.run));
        Ok(None)
    }

    fn ended(&mut self, end: Value) -> Result<Value> {
        if self.lines {
            self.line(event::END, &end)?;
        }
        Ok(end)
    }

    fn line(&self, name: &str, data: &Value) -> Result<()> {
        self.context
            .output
            .line(&json!({ "event": name, "data": data }))
    }

    /// Says what the run or its plugins say, once.
    fn log(&mut self, log: &LogEvent) {
        if log.number <= self.last_line {
            return;
        }
        self.last_line = log.number;
        let level = match log.level.as_str() {
            "error" | "warn" => format!("{}: ", log.level),
            "info" => String::new(),
            _ => return,
        };
        self.meter
            .say(&format!("{level}{}: {}", log.source, log.message));
    }

    fn interrupt(&mut self) -> Result<()> {
        let id = &self.run.id;
        if self.on_interrupt == OnInterrupt::Leave {
            return Err(Failure::interrupted(format!(
                "left run {} ({id}), which goes on",
                self.run.name
            ))
            .hint(format!("follow it again with: tenon runs follow {id}")));
        }
        if self.interrupted {
            let failure = Failure::interrupted(format!(
                "left at once; run {} ({id}) was asked to stop",
                self.run.name
            ));
            failure.print(self.context.output.is_json());
            // The data folder is made for this: what was acknowledged is on disk.
            process::exit(Exit::Interrupted as i32);
        }
        self.interrupted = true;
        let what = match self.run.kind {
            RunKind::Train | RunKind::Sweep => "stopping: the training writes a checkpoint",
            _ => "stopping",
        };
        self.meter
            .say(&format!("{what}; press Ctrl-C again to leave at once"));
        // On a thread: the second Ctrl-C must not wait for the answer.
        let (client, id) = (self.client.clone(), id.clone());
        thread::spawn(move || {
            if let Err(failure) = client.send(Request::post(&["runs", &id, "stop"])) {
                say_line(&format!("cannot stop the run: {}", failure.message()));
            }
        });
        Ok(())
    }

    fn lost(&self, failure: Failure) -> Failure {
        failure.hint(format!(
            "the run may go on there; follow it again with: tenon runs follow {}",
            self.run.id
        ))
    }
}

/// What is known of a run that goes on.
#[derive(Default)]
struct Face {
    status: Option<RunStatus>,
    progress: Option<Progress>,
    metrics: BTreeMap<String, f64>,
}

impl Face {
    fn position(&self) -> (u64, Option<u64>) {
        match &self.progress {
            Some(progress) => (progress.done, progress.total),
            None => (0, None),
        }
    }

    /// `step 120/1,000 · loss 3.214 · 12.3k tokens/s · 2 min 03 s left`.
    fn text(&self, run: &Run) -> String {
        if self.status == Some(RunStatus::Queued) {
            return format!("{} waits for its turn", run.name);
        }
        let Some(progress) = &self.progress else {
            return run.kind.name().to_owned();
        };
        let mut parts = Vec::new();
        let done = text::count(progress.done);
        parts.push(match progress.total {
            Some(total) => format!("{} {done}/{}", progress.unit, text::count(total)),
            None => format!("{} {done}", progress.unit),
        });
        for (metric, name) in [("train/loss", "loss"), ("eval/loss", "eval loss")] {
            if let Some(value) = self.metrics.get(metric) {
                parts.push(format!("{name} {}", text::number(*value)));
            }
        }
        if progress.rate > 0.0 {
            parts.push(format!(
                "{} {}",
                text::rate(progress.rate),
                progress.rate_unit
            ));
        }
        if let Some(left) = progress.seconds_left {
            parts.push(format!("{} left", text::seconds(left)));
        }
        if !progress.message.is_empty() {
            parts.push(progress.message.clone());
        }
        parts.join(" · ")
    }
}

/// How a run has ended, as the end of the command.
pub fn verdict(end: &Value) -> Result<()> {
    let run = &end["run"];
    let text = |name: &str| run[name].as_str().unwrap_or_default();
    let (id, name, error) = (text("id"), text("name"), text("error"));
    match text("status") {
        "finished" => Ok(()),
        "interrupted" => {
            let failure =
                Failure::interrupted(format!("run {name} ({id}) was interrupted: {error}"));
            Err(match text("kind") {
                "train" => failure.hint(format!("go on with: tenon runs resume {id}")),
                _ => failure,
            })
        }
        "cancelled" => Err(Failure::interrupted(format!(
            "run {name} ({id}) was stopped"
        ))),
        // The reason comes first: it is what people look for.
        _ => {
            let (reason, hint) = match error.rsplit_once("\nhint: ") {
                Some((reason, hint)) if !hint.contains('\n') => (reason, Some(hint)),
                _ => (error, None),
            };
            let failure =
                Failure::failed("run-failed", format!("run {name} ({id}) failed: {reason}"));
            Err(match hint {
                Some(hint) => failure.hint(hint),
                None => failure,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn end(status: &str, error: &str) -> Value {
        json!({"run": {"id": "01k", "name": "train-1", "kind": "train", "status": status, "error": error}})
    }

    #[test]
    fn a_run_ends_the_command_as_it_ended_itself() {
        assert!(verdict(&end("finished", "")).is_ok());
        let stopped = verdict(&end("interrupted", "stopped on request")).unwrap_err();
        assert_eq!(stopped.exit, Exit::Interrupted);
        assert!(
            stopped
                .to_string()
                .contains("hint: go on with: tenon runs resume 01k")
        );
        let failed = verdict(&end(
            "failed",
            "the loss is NaN\nhint: lower the learning rate",
        ))
        .unwrap_err();
        assert_eq!(failed.exit, Exit::Failed);
        assert_eq!(
            failed.to_string(),
            "error: run train-1 (01k) failed: the loss is NaN\nhint: lower the learning rate"
        );
    }

    #[test]
    fn progress_is_one_line() {
        let run: Run = serde_json::from_value(json!({
            "id": "01k", "experiment": "e", "name": "train-1", "kind": "train", "status": "running",
            "created": "2026-01-01T00:00:00Z"
        }))
        .unwrap();
        let mut face = Face::default();
        assert_eq!(face.text(&run), "train");
        face.progress = Some(Progress {
            done: 1200,
            total: Some(5000),
            unit: "steps".into(),
            rate: 12_345.0,
            rate_unit: "tokens/s".into(),
            seconds_left: Some(123.0),
            message: String::new(),
        });
        face.metrics.insert("train/loss".into(), 3.214_159);
        assert_eq!(
            face.text(&run),
            "steps 1,200/5,000 · loss 3.214 · 12.3k tokens/s · 2 min 03 s left"
        );
        face.status = Some(RunStatus::Queued);
        assert_eq!(face.text(&run), "train-1 waits for its turn");
    }
}
