//! A curve in one line of text.

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The values as bars between the smallest and the largest; what is no number is a gap.
pub fn spark(values: &[f64]) -> String {
    let numbers = || values.iter().copied().filter(|value| value.is_finite());
    let low = numbers().fold(f64::INFINITY, f64::min);
    let span = numbers().fold(f64::NEG_INFINITY, f64::max) - low;
    values
        .iter()
        .map(|value| {
            if !value.is_finite() {
                ' '
            } else if span > 0.0 {
                let part = (value - low) / span * (BARS.len() - 1) as f64;
                BARS[(part.round() as usize).min(BARS.len() - 1)]
            } else {
                BARS[3]
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves() {
        assert_eq!(spark(&[0.0, 3.5, 7.0]), "▁▅█");
        assert_eq!(spark(&[7.0, f64::NAN, 0.0, f64::INFINITY]), "█ ▁ ");
        assert_eq!(spark(&[2.0, 2.0]), "▄▄");
        assert_eq!(spark(&[]), "");
    }
}
