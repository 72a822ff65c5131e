//! Text of strangers, as names in an archive and words of a file, on its way to a terminal or a job's log.

use std::fmt::Write as _;

use serde::Serialize;

/// The text without what GitHub's runner takes for a command wherever it is in a line.
fn disarmed(text: &str) -> String {
    text.replace("##[", "# #[")
}

/// Whether a character is seen as what it is: no control character, no blank but the ordinary one, and nothing that changes
/// others, as the order in which they are shown.
pub(crate) fn is_seen(char: char) -> bool {
    matches!(char, ' '..='~') || char.escape_debug().len() == 1
}

/// The text as one line, with an escape for each character that cannot be seen.
pub(crate) fn visible(text: &str) -> String {
    let mut line = String::new();
    for char in text.chars() {
        match is_seen(char) {
            true => line.push(char),
            false => line.extend(char.escape_debug()),
        }
    }
    disarmed(&line)
}

/// The text with its lines, none of which is a command to GitHub's runner, and without what cannot be seen: for messages that have
/// lines of their own and others' words.
pub(crate) fn visible_lines(text: &str) -> String {
    let line = |line: &str| {
        let line = visible(line);
        // Blanks before it do not keep the runner from it.
        match line.trim_start().starts_with("::") {
            true => line.replacen("::", ": :", 1),
            false => line,
        }
    };
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

/// Prints a line for whoever reads standard output, which in a job is also the runner. As `println!`, but nothing in it is a command
/// to the runner or to a terminal, whoever wrote it, and who reads no further, as `head` does, keeps no command from its work.
macro_rules! say {
    ($($text:tt)*) => {
        $crate::show::strangers::print(&($crate::show::strangers::visible_lines(&format!($($text)*)) + "\n"))
    };
}
pub(crate) use say;

/// Prints a text to standard output, for whoever still reads it.
pub(crate) fn print(text: &str) {
    let _ = std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes());
}

/// The value as JSON for a program, in a job's log and on a terminal as well.
///
/// # Errors
/// Where the value cannot be written as JSON.
pub(crate) fn json_text(value: &impl Serialize) -> serde_json::Result<String> {
    let mut text = String::new();
    for char in serde_json::to_string_pretty(value)?.chars() {
        match char == '\n' || is_seen(char) {
            true => text.push(char),
            false => char.encode_utf16(&mut [0; 2]).iter().for_each(|unit| {
                let _ = write!(text, "\\u{unit:04x}");
            }),
        }
    }
    // Within a string of JSON, where alone these can be, they are the same.
    Ok(text.replace("##[", "#\\u0023["))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_has_a_command_to_the_runner() {
        for text in ["##[set-output name=key]x", "a ###[b]", "####[[c", "##[##[d"] {
            assert!(!disarmed(text).contains("##["), "{text}");
        }
        assert_eq!(disarmed("a #1 [b] ## c"), "a #1 [b] ## c");
    }

    #[test]
    fn no_json_has_a_command_to_the_runner_and_its_value_is_the_same() {
        let value = ["##[error]a", "\\##[b"];
        let text = json_text(&value).expect("JSON");
        assert!(!text.contains("##["), "{text}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&text).expect("JSON"), value);
    }

    #[test]
    fn no_json_has_what_cannot_be_seen_and_its_value_is_the_same() {
        let value = ["a\u{9b}31m\u{202e}\u{7f}\u{2028}\u{200b}\u{e0001}\u{1b}\n", "\u{e4}\u{4e2d}\u{1f4e6}"];
        let text = json_text(&value).expect("JSON");
        assert!(text.chars().all(|char| char == '\n' || is_seen(char)), "{text:?}");
        assert!(
            text.contains("\\u009b31m\\u202e\\u007f\\u2028\\u200b\\udb40\\udc01") && text.contains(value[1]),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<Vec<String>>(&text).expect("JSON"), value);
    }

    #[test]
    fn no_line_is_a_command_to_the_runner_or_to_a_terminal() {
        let text = "no lock\n  |\n  ::error::a\r::b\u{1b}[2J\u{202e}\n::add-mask::a";
        assert_eq!(
            visible_lines(text),
            "no lock\n  |\n  : :error::a\\r::b\\u{1b}[2J\\u{202e}\n: :add-mask::a"
        );
    }
}
