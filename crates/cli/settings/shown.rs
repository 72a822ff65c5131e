//! What was decided, as a file that says the same: `serve --check` prints it.

use hubcap_upstream::UpstreamConfig;

use super::config::Config;
use super::given::{RemovedTable, Settings, TagsTable};
use super::units::Text;
use super::upstream::{One, Place, Upstream};

impl Config {
    /// TOML. Comments say what has no key, and show no secret.
    ///
    /// # Errors
    /// When a path is not UTF-8.
    pub(crate) fn to_toml(&self) -> anyhow::Result<String> {
        let mut text = String::new();
        if self.restore.is_some() {
            text += "# restored from HUBCAP_RESTORE\n";
        }
        for upstream in &self.upstreams {
            for origin in upstream.origins.iter().filter(|origin| origin.credentials.is_some()) {
                text += &format!("# with a login: {}, at {}\n", upstream.registry, origin.url);
            }
        }
        text += &toml::to_string(&self.to_settings())?;
        Ok(text)
    }

    fn to_settings(&self) -> Settings {
        let proxy = self.proxy.as_ref();
        let named = self.upstreams.iter().map(shown);
        let rules = self.tags.rules.iter();
        let removed = self.removed.rules.iter();
        Settings {
            listen: Some(Text(self.listen)),
            http_listen: self.http_listen.map(Text),
            name: texts(&self.names),
            bridge_listen: texts(&self.bridges),
            proxy_listen: proxy.map(|proxy| Text(proxy.address)),
            proxy_intercept: texts(proxy.map_or(&[], |proxy| &proxy.intercept)),
            proxy_tunnel: texts(proxy.map_or(&[], |proxy| &proxy.tunnel)),
            store: Some(self.store.clone()),
            state: Some(self.state.clone()),
            config: None,
            offline: Some(self.offline),
            frozen: self.frozen.as_ref().map(|frozen| frozen.path.clone()),
            read_ahead: Some(self.read_ahead),
            tag_ttl: Some(Text(self.tags.default)),
            upstream_timeout: Some(Text(self.upstream_timeout)),
            max_size: self.max_size.map(Text),
            min_free: Some(Text(self.min_free)),
            pin: texts(&self.pins),
            tags: rules
                .map(|(pattern, ttl)| TagsTable { pattern: Text(pattern.clone()), ttl: Text(*ttl) })
                .collect(),
            removed: removed
                .map(|(pattern, on_removed)| RemovedTable {
                    pattern: Text(pattern.clone()),
                    on_removed: Text(*on_removed),
                })
                .collect(),
            upstream: named.chain(self.allowed.iter().cloned().map(Upstream::All)).collect(),
        }
    }
}

fn shown(upstream: &UpstreamConfig) -> Upstream {
    let origins = upstream.origins.iter();
    let one = One {
        registry: upstream.registry.clone(),
        origins: origins.map(|origin| Place { url: Some(origin.url.clone()), login: None }).collect(),
        login: None,
        tag_ttl: None,
        stale_tags: upstream.stale_tags.then_some(true),
    };
    one.into()
}

fn texts<T: Clone>(values: &[T]) -> Vec<Text<T>> {
    values.iter().cloned().map(Text).collect()
}
