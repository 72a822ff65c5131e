//! The upstreams of the file: `[upstream."docker.io"]`.

use std::collections::BTreeMap;

use hubcap_cache::Ttl;
use hubcap_upstream::{Credentials, Secret};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use url::Url;

use super::units::Text;
use super::upstream::{Upstream, only_for_one};

#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Table {
    url: Option<String>,
    #[serde(skip_serializing)]
    username: Option<String>,
    #[serde(skip_serializing)]
    password: Option<String>,
    tag_ttl: Option<Text<Ttl>>,
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Upstream>, D::Error> {
    let tables = BTreeMap::<String, Table>::deserialize(deserializer)?;
    tables.into_iter().map(|(name, table)| read(&name, table).map_err(de::Error::custom)).collect()
}

fn read(name: &str, table: Table) -> Result<Upstream, String> {
    let mut upstream = Upstream::new(name, table.url.as_deref())?;
    let given = match (table.username, table.password) {
        (Some(username), Some(password)) => Some(Credentials { username, password: Secret::new(password) }),
        (None, None) => None,
        _ => return Err(format!("upstream {name}: username and password go together")),
    };
    let ttl = table.tag_ttl.map(Text::into_inner);
    match &mut upstream {
        Upstream::One { login, tag_ttl, .. } => (*login, *tag_ttl) = (given, ttl),
        Upstream::All(_) if given.is_some() || ttl.is_some() => return Err(only_for_one(name)),
        Upstream::All(_) => {}
    }
    Ok(upstream)
}

/// Without logins.
pub(super) fn serialize<S: Serializer>(list: &[Upstream], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(list.iter().map(|upstream| match upstream {
        Upstream::One { registry, url, tag_ttl, .. } => {
            let url = url.as_ref().map(Url::to_string);
            (registry.to_string(), Table { url, tag_ttl: tag_ttl.map(Text), ..Table::default() })
        }
        Upstream::All(pattern) => (pattern.to_string(), Table::default()),
    }))
}
