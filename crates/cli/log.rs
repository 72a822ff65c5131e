//! The log on standard error: each event is one line of visible characters. Names of files in an archive and words of a registry
//! may be in it, and none of them begins a line, moves a terminal's cursor or turns the direction of its text.

use std::io::{self, Write};

use crate::daemon::log;
use crate::show::strangers::visible;

/// Takes each event as one write, and writes it as one line.
pub(crate) struct Lines;

impl Write for Lines {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        log::keep_ours_small();
        let line = event.strip_suffix(b"\n").unwrap_or(event);
        let is_plain = line.iter().all(|byte| matches!(byte, b' '..=b'~') && *byte != b'#');
        let written = match is_plain {
            true => io::stderr().write_all(event),
            false => writeln!(io::stderr(), "{}", visible(&String::from_utf8_lossy(line))),
        };
        // A full disk, or a reader that is gone, must not end what is logged: there is nowhere to tell it.
        drop(written);
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_of_visible_characters() {
        let event = "a \"b\"\n::warning::c\r\u{1b}[31m\u{9b}\u{202e}\u{2028}\u{e4}\u{1f433}\\ ##[error]";
        assert_eq!(
            visible(event),
            "a \"b\"\\n::warning::c\\r\\u{1b}[31m\\u{9b}\\u{202e}\\u{2028}\u{e4}\u{1f433}\\ # #[error]"
        );
    }
}
