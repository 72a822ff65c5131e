//! Names of images on a page that GitHub draws. They come from clients and registries, so no character of them may mean anything.

use crate::show::strangers::is_seen;

/// The longest name on a page, in characters.
const LONGEST: usize = 120;

/// A name as code in a table of Markdown.
pub(super) fn code(name: &str) -> String {
    let plain = |char: char| is_seen(char) && !['`', '|', '<', '>', '\\'].contains(&char);
    format!("`{}`", replaced(name, plain, '?'))
}

/// A registry's name in a sentence of Markdown.
pub(super) fn host(name: &str) -> String {
    replaced(name, |char| char.is_ascii_alphanumeric() || ".:-[]".contains(char), '?')
}

/// A name in a diagram of Mermaid, where `:`, `;`, `#`, `%` and quotes mean something.
pub(super) fn label(name: &str) -> String {
    replaced(name, |char| char.is_ascii_alphanumeric() || "./_@-".contains(char), ' ')
}

fn replaced(name: &str, is_plain: impl Fn(char) -> bool, other: char) -> String {
    let mut shown: String =
        name.chars().take(LONGEST).map(|char| if is_plain(char) { char } else { other }).collect();
    if name.chars().nth(LONGEST).is_some() {
        shown.push_str("...");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_name_stays_as_it_is() {
        assert_eq!(code("docker.io/library/sdk:1"), "`docker.io/library/sdk:1`");
        assert_eq!(label("docker.io/library/sdk:1"), "docker.io/library/sdk 1");
        assert_eq!(host("[::1]:5000"), "[::1]:5000");
    }

    #[test]
    fn a_name_ends_no_code_and_no_cell() {
        assert_eq!(code("a`|<script>\n\u{202e}"), "`a???script???`");
    }

    #[test]
    fn a_registrys_name_is_no_markdown() {
        assert_eq!(host("a\n# b![c](//d)<e>_*\u{202e}"), "a???b?[c]???d??e????");
    }

    #[test]
    fn a_name_begins_nothing_in_a_diagram() {
        assert_eq!(label("a:crit, 0\nsection b;%%{init}#59;"), "a crit  0 section b    init  59 ");
    }

    #[test]
    fn a_name_has_no_more_than_so_many_characters() {
        assert_eq!(label(&"ä".repeat(10_000)).chars().count(), LONGEST + 3);
    }
}
