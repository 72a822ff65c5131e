//! Progress for people: bars on a terminal, plain lines elsewhere.

use std::io::IsTerminal as _;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A place where progress is shown.
pub(crate) struct Progress {
    bars: Option<MultiProgress>,
}

impl Progress {
    /// On the terminal, if standard error is one.
    pub(crate) fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bars = terminal.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));
        Self { bars }
    }

    /// A bar for a content of `size` bytes; it is hidden where there is no terminal.
    pub(crate) fn bar(&self, name: &str, size: u64) -> ProgressBar {
        let Some(bars) = &self.bars else { return ProgressBar::hidden() };
        let style = ProgressStyle::with_template(
            "{prefix:20} {bar:30} {bytes:>10} of {total_bytes:10} {bytes_per_sec}",
        )
        .unwrap_or_else(|_| ProgressStyle::default_bar());
        bars.add(ProgressBar::new(size).with_style(style).with_prefix(name.to_owned()))
    }

    /// A line that stays.
    pub(crate) fn line(&self, text: &str) {
        match &self.bars {
            Some(bars) => drop(bars.println(text)),
            None => eprintln!("{text}"),
        }
    }
}

/// Bytes for people: `1.5 GB`, in powers of 1000 as registries count them. (The crate bytesize writes `1000.0 MB` for
/// 999,999,999 bytes.)
pub(crate) fn bytes(count: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    let mut scaled = count as f64;
    let mut unit = 0;
    while scaled >= 999.95 && unit + 1 < units.len() {
        scaled /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{scaled:.1} {}", units[unit]) }
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn bytes_are_written_for_people() {
        let shown = [0, 999, 1000, 979_000_000, 999_999_999, 3_230_000_000].map(bytes);
        assert_eq!(shown, ["0 B", "999 B", "1.0 kB", "979.0 MB", "1.0 GB", "3.2 GB"]);
    }
}
