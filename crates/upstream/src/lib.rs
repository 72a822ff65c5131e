//! The network: registries that hubcap may pull from
