//! Numbers, sizes and times as people read them.

use jiff::Timestamp;
use serde_json::Value;

/// A size in binary units.
pub fn bytes(size: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = size as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{size} B")
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// A count with its thousands set apart.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 row`, `2 rows`.
pub fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", count(number))
}

/// Four significant digits or so; what is very small or large with an exponent.
pub fn number(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() || value == 0.0 {
        return value.to_string();
    }
    if !(1e-4..1e9).contains(&size) {
        return format!("{value:.3e}");
    }
    let digits = (3 - size.log10().floor() as i32).clamp(0, 7) as usize;
    let text = format!("{value:.digits$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// A rate: `812`, `12.3k`, `1.2M`.
pub fn rate(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{:.1}M", value / 1e6),
        value if value >= 1e4 => format!("{:.1}k", value / 1e3),
        value if value >= 100.0 => format!("{value:.0}"),
        value => number(value),
    }
}

/// A length of time: `0.3 s`, `42 s`, `3 min 20 s`, `2 h 05 min`, `3 d 04 h`.
pub fn seconds(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "?".to_owned();
    }
    if seconds < 9.95 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        3600..86400 => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
        _ => format!("{} d {:02} h", whole / 86400, whole % 86400 / 3600),
    }
}

/// A moment: `12 min ago` on a terminal, the timestamp otherwise.
pub fn moment(time: Timestamp, terminal: bool) -> String {
    if !terminal {
        return time.to_string();
    }
    let past = Timestamp::now().as_second() - time.as_second();
    match past {
        i64::MIN..5 => "now".to_owned(),
        5..90 => format!("{past} s ago"),
        90..5400 => format!("{} min ago", past / 60),
        5400..172_800 => format!("{} h ago", past / 3600),
        _ => format!("{} d ago", past / 86400),
    }
}

/// The same for a moment that is kept as text.
pub fn moment_of(text: &str, terminal: bool) -> String {
    match text.parse() {
        Ok(time) => moment(time, terminal),
        Err(_) => text.to_owned(),
    }
}

/// A digest, shortened on a terminal: `blake3:0a1b2c3d4e5f`.
pub fn digest(digest: &str, terminal: bool) -> String {
    match digest.split_once(':') {
        Some((kind, hex)) if terminal && hex.len() > 12 && hex.is_ascii() => {
            format!("{kind}:{}", &hex[..12])
        }
        _ => digest.to_owned(),
    }
}

/// A JSON value in a cell: text without quotation marks, numbers short.
pub fn value(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => number
            .as_f64()
            .map_or_else(|| number.to_string(), self::number),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_counts_and_times() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(count(0), "0");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(counted(1, "row"), "1 row");
        assert_eq!(counted(2000, "row"), "2,000 rows");
        assert_eq!(seconds(0.25), "0.2 s");
        assert_eq!(seconds(200.4), "3 min 20 s");
        assert_eq!(seconds(7500.0), "2 h 05 min");
        assert_eq!(seconds(f64::NAN), "?");
    }

    #[test]
    fn numbers_keep_what_matters() {
        for (value, text) in [
            (0.0, "0"),
            (3.0, "3"),
            (3.24159, "3.242"),
            (0.000_3, "0.0003"),
            (0.012_345_6, "0.01235"),
            (12_345.678, "12346"),
            (1.5e-7, "1.500e-7"),
            (-250.0, "-250"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(number(value), text);
        }
        assert_eq!(rate(12_345.0), "12.3k");
        assert_eq!(rate(812.4), "812");
    }

    #[test]
    fn digests_are_whole_for_programs() {
        let whole = format!("blake3:{}", "ab".repeat(32));
        assert_eq!(digest(&whole, false), whole);
        assert_eq!(digest(&whole, true), "blake3:abababababab");
    }
}
