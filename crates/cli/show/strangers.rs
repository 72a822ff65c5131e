//! Text of strangers, as names in an archive, on its way to a terminal or a job's log. What is no visible character is quoted where
//! the text comes in.

/// The text without what GitHub's runner takes for a command wherever it is in a line.
pub(crate) fn disarmed(text: &str) -> String {
    text.replace("##[", "# #[")
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
}
