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
        Self { target, caller: Caller(Login::Hubcaps) }
    }
}

/// Who asks.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Caller(Login);

/// The login that counts for a caller.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
enum Login {
    /// hubcap's: the client has none of its own.
    #[default]
    Hubcaps,
    /// None: the client has none of its own, and hubcap's are not for it.
    None,
    /// The client's own.
    Clients(Secret),
}

impl Caller {
    /// The caller of a request with this value of Authorization. Without one, it gets what hubcap itself may have.
    pub fn new(authorization: Option<&str>) -> Self {
        Self(authorization.map_or(Login::Hubcaps, |authorization| Login::Clients(Secret::new(authorization))))
    }

    /// The same for a client for which hubcap's logins are not: without an Authorization, it gets what anybody may have.
    pub fn new_untrusted(authorization: Option<&str>) -> Self {
        Self(authorization.map_or(Login::None, |authorization| Login::Clients(Secret::new(authorization))))
    }

    /// `upstream`, asked with the login that counts for this caller.
    pub(crate) fn ask_through(&self, upstream: Upstream) -> Upstream {
        match &self.0 {
            Login::Hubcaps => upstream,
            Login::None => upstream.for_anybody(),
            Login::Clients(authorization) => upstream.for_client(authorization.clone()),
        }
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Login::Hubcaps => "anybody",
            Login::None => "anybody, without hubcap's logins",
            Login::Clients(_) => "a client with a login",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_is_not_shown() {
        for caller in [Caller::new(Some("Basic YTpi")), Caller::new_untrusted(Some("Basic YTpi"))] {
            assert_eq!(format!("{caller:?}"), "a client with a login");
        }
    }

    #[test]
    fn a_client_without_a_login_is_another_caller_where_hubcaps_logins_are_not_for_it() {
        assert_ne!(Caller::new(None), Caller::new_untrusted(None));
        assert_eq!(Caller::new(Some("Basic YTpi")), Caller::new_untrusted(Some("Basic YTpi")));
    }
}
