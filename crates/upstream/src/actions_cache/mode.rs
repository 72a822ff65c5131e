//! What a job may do with the cache, as its workflow says it.

/// `ACTIONS_CACHE_MODE`, which the runner sets from a workflow's `cache-mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Neither.
    None,
    /// Look-ups only.
    Read,
    /// Everything.
    #[default]
    Write,
    /// Uploads only.
    WriteOnly,
}

impl Mode {
    /// Reads the variable. What is not set, or not known, permits everything, as in GitHub's own library.
    pub fn parse(variable: Option<&str>) -> Self {
        match variable.unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "none" => Self::None,
            "read" => Self::Read,
            "write-only" => Self::WriteOnly,
            _ => Self::Write,
        }
    }

    pub(super) const fn reads(self) -> bool {
        matches!(self, Self::Read | Self::Write)
    }

    pub(super) const fn writes(self) -> bool {
        matches!(self, Self::Write | Self::WriteOnly)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_that_is_not_known_permits_everything() {
        for (text, reads, writes) in [
            (None, true, true),
            (Some(""), true, true),
            (Some("write"), true, true),
            (Some("append"), true, true),
            (Some("none"), false, false),
            (Some(" Read\n"), true, false),
            (Some("write-only"), false, true),
        ] {
            let mode = Mode::parse(text);
            assert_eq!((mode.reads(), mode.writes()), (reads, writes), "{text:?}");
        }
    }
}
