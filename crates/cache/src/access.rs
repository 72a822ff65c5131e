//! Access: a repository, and who wants to see it.

use std::fmt;

use hubcap_oci::Target;
use hubcap_upstream::{Secret, Upstream};

/// A repository, and who wants to see it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Access {
    /// The repository.
    pub target: Target,
    /// Who asks.
    pub caller: Caller,
}

impl Access {
    /// The access of a client that sent no Authorization.
    pub const fn anonymous(target: Target) -> Self {
        Self { target, caller: Caller(None) }
    }
}

/// Who asks: a client with an Authorization of its own, or any client without one, which gets what hubcap itself may have.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Caller(Option<Secret>);

impl Caller {
    /// The caller of a request with this value of Authorization, if it has one.
    pub fn new(authorization: Option<&str>) -> Self {
        Self(authorization.map(Secret::new))
    }

    /// `upstream`, asked with this caller's own login; with hubcap's for a caller that has none.
    pub(crate) fn ask_through(&self, upstream: Upstream) -> Upstream {
        match &self.0 {
            Some(authorization) => upstream.for_client(authorization.clone()),
            None => upstream,
        }
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "a client with a login" } else { "anybody" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_is_not_shown() {
        assert_eq!(format!("{:?}", Caller::new(Some("Basic YTpi"))), "a client with a login");
    }
}
