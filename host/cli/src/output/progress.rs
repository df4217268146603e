//! How far something is, on standard error: a bar on a terminal, a line now and then otherwise.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Nothing is said about what is done within this time.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two lines.
const EVERY: Duration = Duration::from_secs(10);
/// Between two frames of the bar.
const FRAME: Duration = Duration::from_millis(120);

/// Shows how far something is.
pub struct Meter {
    face: Face,
}

enum Face {
    Bar(ProgressBar),
    Lines { next: Instant, said: String },
}

impl Meter {
    /// A bar if standard error is a terminal; otherwise the first line comes after a while, since much
    /// is done by then.
    pub fn new() -> Self {
        Self::after(PATIENCE)
    }

    /// The same for what takes long by its nature: the first line comes at once.
    pub fn eager() -> Self {
        Self::after(Duration::ZERO)
    }

    fn after(patience: Duration) -> Self {
        let face = if Term::stderr().features().is_attended() {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.set_style(spinner());
            bar.enable_steady_tick(FRAME);
            Face::Bar(bar)
        } else {
            Face::Lines {
                next: Instant::now() + patience,
                said: String::new(),
            }
        };
        Self { face }
    }

    /// `done` of `total`, and what that means.
    pub fn show(&mut self, done: u64, total: Option<u64>, text: &str) {
        match &mut self.face {
            Face::Bar(bar) => {
                match total {
                    Some(total) if bar.length() != Some(total) => {
                        bar.set_style(filling());
                        bar.set_length(total);
                    }
                    None if bar.length().is_some() => {
                        bar.set_style(spinner());
                        bar.unset_length();
                    }
                    _ => {}
                }
                bar.set_position(done);
                bar.set_message(text.to_owned());
            }
            Face::Lines { next, said } => {
                let now = Instant::now();
                if now >= *next && said != text {
                    *next = now + EVERY;
                    text.clone_into(said);
                    say_line(text);
                }
            }
        }
    }

    /// Says something that stays.
    pub fn say(&self, line: &str) {
        match &self.face {
            Face::Bar(bar) => bar.suspend(|| say_line(line)),
            Face::Lines { .. } => say_line(line),
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Face::Bar(bar) = &self.face {
            bar.finish_and_clear();
        }
    }
}

/// Says something on standard error. Nobody may be listening.
pub fn say_line(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

fn spinner() -> ProgressStyle {
    style("{spinner} {wide_msg}")
}

fn filling() -> ProgressStyle {
    style("{bar:24} {percent:>3}% {wide_msg}").progress_chars("━╸─")
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
