//! The upstreams of the file: `[upstream."docker.io"]`, or a list.

use std::collections::BTreeMap;
use std::fmt;

use hubcap_cache::Ttl;
use hubcap_upstream::{Credentials, Secret};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::units::Text;
use super::upstream::{Place, Upstream, only_for_one};

#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Table {
    url: Option<Urls>,
    #[serde(skip_serializing)]
    username: Option<String>,
    #[serde(skip_serializing)]
    password: Option<String>,
    tag_ttl: Option<Text<Ttl>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stale_tags: Option<bool>,
}

/// `"https://..."`, or a list of such and of tables.
struct Urls {
    list: Vec<Origin>,
}

/// `"https://..."`, or `{ url = "https://...", username = "me", password = "..." }`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Origin {
    url: String,
    username: Option<String>,
    password: Option<String>,
}

/// A registry's table, or only the list of its URLs.
struct Entry(Table);

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Upstream>, D::Error> {
    deserializer.deserialize_any(All)
}

/// Of tables, by name, or of the words that the flag takes.
struct All;

impl<'de> Visitor<'de> for All {
    type Value = Vec<Upstream>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table for each registry, or a list of NAME=URL")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let tables = BTreeMap::<String, Entry>::deserialize(MapAccessDeserializer::new(map))?;
        tables.into_iter().map(|(name, Entry(table))| read(&name, table).map_err(de::Error::custom)).collect()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut found: Vec<Upstream> = Vec::new();
        while let Some(word) = list.next_element::<String>()? {
            // A URL without a name is one more of the registry before it, at first Docker Hub's.
            let is_url = word.starts_with("http://") || word.starts_with("https://");
            match found.last_mut() {
                Some(Upstream::One(one)) if is_url => {
                    let place = Place::at(one.registry.as_str(), &word).map_err(de::Error::custom)?;
                    one.origins.push(place);
                }
                _ if is_url => {
                    found.push(format!("docker.io={word}").parse().map_err(de::Error::custom)?);
                }
                _ => found.push(word.parse().map_err(de::Error::custom)?),
            }
        }
        Ok(found)
    }
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TableOrList;
        impl<'de> Visitor<'de> for TableOrList {
            type Value = Entry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table, or a list of URLs")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Entry, A::Error> {
                Table::deserialize(MapAccessDeserializer::new(map)).map(Entry)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Entry, A::Error> {
                Ok(Entry(Table { url: Some(Urls::collect(list)?), ..Table::default() }))
            }
        }
        deserializer.deserialize_any(TableOrList)
    }
}

impl Urls {
    fn collect<'de, A: SeqAccess<'de>>(mut list: A) -> Result<Self, A::Error> {
        let mut found = Vec::new();
        while let Some(OriginOrUrl(origin)) = list.next_element()? {
            found.push(origin);
        }
        if found.is_empty() {
            return Err(de::Error::custom("the list of URLs is empty; name at least one, or leave it out"));
        }
        Ok(Self { list: found })
    }
}

impl<'de> Deserialize<'de> for Urls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrList;
        impl<'de> Visitor<'de> for OneOrList {
            type Value = Urls;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a URL, or a list of them")
            }

            fn visit_str<E: de::Error>(self, url: &str) -> Result<Urls, E> {
                Ok(Urls { list: vec![Origin { url: url.to_owned(), ..Origin::default() }] })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Urls, A::Error> {
                Urls::collect(list)
            }
        }
        deserializer.deserialize_any(OneOrList)
    }
}

struct OriginOrUrl(Origin);

impl<'de> Deserialize<'de> for OriginOrUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct UrlOrTable;
        impl<'de> Visitor<'de> for UrlOrTable {
            type Value = OriginOrUrl;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a URL, or a table with url, username and password")
            }

            fn visit_str<E: de::Error>(self, url: &str) -> Result<OriginOrUrl, E> {
                Ok(OriginOrUrl(Origin { url: url.to_owned(), ..Origin::default() }))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<OriginOrUrl, A::Error> {
                Origin::deserialize(MapAccessDeserializer::new(map)).map(OriginOrUrl)
            }
        }
        deserializer.deserialize_any(UrlOrTable)
    }
}

/// Without logins.
impl Serialize for Urls {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.list.as_slice() {
            [one] => serializer.serialize_str(&one.url),
            several => serializer.collect_seq(several.iter().map(|one| &one.url)),
        }
    }
}

fn read(name: &str, table: Table) -> Result<Upstream, String> {
    let mut upstream = Upstream::new(name)?;
    let login = login(name, table.username, table.password)?;
    let tag_ttl = table.tag_ttl.map(Text::into_inner);
    match &mut upstream {
        Upstream::One(one) => {
            (one.login, one.tag_ttl, one.stale_tags) = (login, tag_ttl, table.stale_tags);
            for origin in table.url.into_iter().flat_map(|urls| urls.list) {
                let place = Place::at(name, &origin.url)?;
                let login = self::login(name, origin.username, origin.password)?;
                one.origins.push(Place { login, ..place });
            }
        }
        Upstream::All(_)
            if table.url.is_some() || login.is_some() || tag_ttl.is_some() || table.stale_tags.is_some() =>
        {
            return Err(only_for_one(name));
        }
        Upstream::All(_) => {}
    }
    Ok(upstream)
}

fn login(
    name: &str,
    username: Option<String>,
    password: Option<String>,
) -> Result<Option<Credentials>, String> {
    match (username, password) {
        (Some(username), Some(password)) => {
            Ok(Some(Credentials { username, password: Secret::new(password) }))
        }
        (None, None) => Ok(None),
        _ => Err(format!("upstream {name}: username and password go together")),
    }
}

/// Without logins.
pub(super) fn serialize<S: Serializer>(list: &[Upstream], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(list.iter().map(|upstream| match upstream {
        Upstream::One(one) => {
            let urls = one.origins.iter().filter_map(|place| place.url.as_ref());
            let list: Vec<Origin> =
                urls.map(|url| Origin { url: url.to_string(), ..Origin::default() }).collect();
            let table = Table {
                url: Some(Urls { list }).filter(|urls| !urls.list.is_empty()),
                tag_ttl: one.tag_ttl.map(Text),
                stale_tags: one.stale_tags,
                ..Table::default()
            };
            (one.registry.to_string(), table)
        }
        Upstream::All(pattern) => (pattern.to_string(), Table::default()),
    }))
}
