//! The registries that a client is to ask hubcap for.

use hubcap_oci::Registry;

/// The registries that a client is to ask hubcap for.
#[derive(Debug, Clone, Default)]
pub struct Registries {
    /// These.
    pub named: Vec<Registry>,
    /// And, where the client's files can say so, all others.
    pub every_other: bool,
}

impl From<Vec<Registry>> for Registries {
    fn from(named: Vec<Registry>) -> Self {
        Self { named, every_other: false }
    }
}
