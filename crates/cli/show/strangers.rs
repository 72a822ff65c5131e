//! Text of strangers, as names in an archive and words of a file, on its way to a terminal or a job's log.

/// The text without what GitHub's runner takes for a command wherever it is in a line.
fn disarmed(text: &str) -> String {
    text.replace("##[", "# #[")
}

/// The text as one line, with an escape for each character that cannot be seen.
pub(crate) fn visible(text: &str) -> String {
    let mut line = String::new();
    for char in text.chars() {
        match char {
            ' '..='~' => line.push(char),
            other => line.extend(other.escape_debug()),
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
    fn no_line_is_a_command_to_the_runner_or_to_a_terminal() {
        let text = "no lock\n  |\n  ::error::a\r::b\u{1b}[2J\u{202e}\n::add-mask::a";
        assert_eq!(
            visible_lines(text),
            "no lock\n  |\n  : :error::a\\r::b\\u{1b}[2J\\u{202e}\n: :add-mask::a"
        );
    }
}
