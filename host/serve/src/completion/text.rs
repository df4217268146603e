//! The text of one choice: what may be sent, and where it ends.

/// Looks for stop strings in a text that comes in pieces. What may be the beginning of one is held back.
#[derive(Debug)]
pub(super) struct StopText {
    stops: Vec<String>,
    held: String,
}

/// What a piece of text brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Passed {
    /// What may be sent.
    pub(super) text: String,
    /// Whether a stop string was found: the text ends before it.
    pub(super) stopped: bool,
}

impl StopText {
    pub(super) fn new(stops: &[String]) -> Self {
        Self {
            stops: stops.to_vec(),
            held: String::new(),
        }
    }

    /// Takes the next piece.
    pub(super) fn push(&mut self, piece: &str) -> Passed {
        self.held.push_str(piece);
        let found = self.stops.iter().filter_map(|stop| self.held.find(stop));
        if let Some(at) = found.min() {
            self.held.truncate(at);
            return Passed {
                text: std::mem::take(&mut self.held),
                stopped: true,
            };
        }
        let keep = self.stops.iter().map(|stop| overlap(&self.held, stop));
        let from = self.held.len() - keep.max().unwrap_or(0);
        let rest = self.held.split_off(from);
        Passed {
            text: std::mem::replace(&mut self.held, rest),
            stopped: false,
        }
    }

    /// What was held back: nothing more comes.
    pub(super) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Bytes at the end of `text` with which `stop` begins.
fn overlap(text: &str, stop: &str) -> usize {
    let most = text.len().min(stop.len() - 1);
    (1..=most)
        .rev()
        .find(|&length| {
            let at = text.len() - length;
            text.is_char_boundary(at)
                && stop.is_char_boundary(length)
                && text[at..] == stop[..length]
        })
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(stops: &[&str], pieces: &[&str]) -> (Vec<String>, bool, String) {
        let stops: Vec<String> = stops.iter().map(|&stop| stop.to_owned()).collect();
        let mut text = StopText::new(&stops);
        let mut sent = Vec::new();
        for piece in pieces {
            let passed = text.push(piece);
            sent.push(passed.text);
            if passed.stopped {
                return (sent, true, String::new());
            }
        }
        (sent, false, text.finish())
    }

    #[test]
    fn a_text_ends_before_the_stop_string() {
        assert_eq!(
            run(&["。"], &["春", "眠。不"]),
            (vec!["春".into(), "眠".into()], true, String::new())
        );
        // The one that comes first counts, not the one that is asked for first.
        assert_eq!(
            run(&["d", "bc"], &["abcd"]),
            (vec!["a".into()], true, String::new())
        );
    }

    #[test]
    fn the_beginning_of_a_stop_string_is_held_back() {
        assert_eq!(
            run(&["\n\n"], &["a\n", "b\n", "\nc"]),
            (
                vec!["a".into(), "\nb".into(), String::new()],
                true,
                String::new()
            )
        );
        // "aab" begins again inside itself.
        assert_eq!(
            run(&["aab"], &["a", "a", "a", "b"]),
            (
                vec![String::new(), String::new(), "a".into(), String::new()],
                true,
                String::new()
            )
        );
        assert_eq!(
            run(&["END"], &["xE", "N"]),
            (vec!["x".into(), String::new()], false, "EN".into())
        );
    }

    #[test]
    fn without_stop_strings_all_passes() {
        assert_eq!(
            run(&[], &["a", "b"]),
            (vec!["a".into(), "b".into()], false, String::new())
        );
    }
}
