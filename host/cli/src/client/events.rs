//! Server-sent events, read line by line.

use std::io::{self, BufRead, BufReader, Read};

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its name.
    pub name: String,
    /// Its data.
    pub data: String,
}

/// The events of a stream.
pub struct Events {
    lines: BufReader<Box<dyn Read + Send>>,
}

impl Events {
    /// The events that `reader` carries.
    pub fn new(reader: Box<dyn Read + Send>) -> Self {
        Self {
            lines: BufReader::new(reader),
        }
    }
}

impl Iterator for Events {
    type Item = io::Result<Event>;

    /// The next event; nothing at the end of the stream. An event that was cut off is dropped.
    fn next(&mut self) -> Option<Self::Item> {
        let mut name = String::new();
        let mut data: Option<String> = None;
        let mut line = String::new();
        loop {
            line.clear();
            match self.lines.read_line(&mut line) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) => return Some(Err(error)),
            }
            let text = line.trim_end_matches(['\n', '\r']);
            if text.is_empty() {
                match data.take() {
                    Some(data) => return Some(Ok(Event { name, data })),
                    None => name.clear(),
                }
                continue;
            }
            let (field, value) = text.split_once(':').unwrap_or((text, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut name),
                "data" => match &mut data {
                    Some(data) => {
                        data.push('\n');
                        data.push_str(value);
                    }
                    None => data = Some(value.to_owned()),
                },
                // Comments keep the connection open.
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn events_are_read_as_the_standard_says() {
        let text = ": hello\n\nevent: metric\ndata: {\"a\":\ndata: 1}\nid: 7\n\nevent: lost\n\ndata:x\r\n\r\nevent: cut\ndata: off";
        let events: Vec<_> = Events::new(Box::new(io::Cursor::new(text)))
            .map(|event| event.unwrap())
            .map(|event| (event.name, event.data))
            .collect();
        let pair = |name: &str, data: &str| (name.to_owned(), data.to_owned());
        assert_eq!(events, [pair("metric", "{\"a\":\n1}"), pair("", "x")]);
    }
}
