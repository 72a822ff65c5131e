//! Which pulls of a client use the mirror, and which do not.

/// Some pulls of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coverage {
    /// Which pulls, and where they do not use the mirror, why.
    pub pulls: String,
    /// Whether they use the mirror.
    pub uses_mirror: bool,
    /// What would make them use it.
    pub remedy: Option<String>,
}

impl Coverage {
    /// Pulls that use the mirror.
    pub(crate) fn using(pulls: impl Into<String>) -> Self {
        Self { pulls: pulls.into(), uses_mirror: true, remedy: None }
    }

    /// Pulls that do not, and what would make them use it.
    pub(crate) fn not_using(pulls: String, remedy: Option<String>) -> Self {
        Self { pulls, uses_mirror: false, remedy }
    }
}
