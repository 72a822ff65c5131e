//! Durations and sizes as people write them.

use std::time::Duration;

use anyhow::Context as _;

/// `500ms`, `5s`, `5m`, `1h`, `2d`; a fraction is allowed, a bare number is not.
pub(crate) fn duration(text: &str) -> anyhow::Result<Duration> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => f64::NAN,
    };
    let number: f64 = number.parse().unwrap_or(f64::NAN);
    Duration::try_from_secs_f64(number * seconds)
        .context("a duration is a number with ms, s, m, h or d, as 30s or 5m")
}
