//! Whose a host is: to it, or not, a registry's login may be sent.

use url::Url;

use crate::address::is_loopback;

/// Whether a login for `registry` may be sent to a token service or another host at `realm`: the same host, or another one
/// under the same owner's domain, never out of TLS. Otherwise any registry could have the login of a user sent anywhere.
pub(crate) fn belongs(registry: &Url, realm: &Url) -> bool {
    if is_loopback(registry) && is_loopback(realm) {
        return true;
    }
    if realm.scheme() != "https" && registry.scheme() == "https" {
        return false;
    }
    let (Some(registry), Some(realm)) = (registry.domain(), realm.domain()) else {
        return registry.host() == realm.host();
    };
    registry == realm || owner(registry).is_some_and(|domain| owner(realm) == Some(domain))
}

/// The part of a name that has one owner: the last two labels, or three below the likes of `co.uk`. Not all
/// hosts of many customers are known here: what a registry names gets a login that the registry has anyway.
fn owner(name: &str) -> Option<&str> {
    let labels: Vec<&str> = name.rsplit('.').collect();
    let (top, second) = (labels.first()?, labels.get(1)?);
    let shared = top.len() == 2 && second.len() <= 3;
    // Hosts of many customers: each has a name of their own below these.
    let tenants = [
        "amazonaws.com",
        "appspot.com",
        "azure.com",
        "azurecontainer.io",
        "azurecontainerapps.io",
        "azurecr.io",
        "azurewebsites.net",
        "cloudfront.net",
        "duckdns.org",
        "fly.dev",
        "github.io",
        "gitlab.io",
        "herokuapp.com",
        "jfrog.io",
        "netlify.app",
        "ngrok.app",
        "ngrok.io",
        "onrender.com",
        "pages.dev",
        "pkg.dev",
        "run.app",
        "trycloudflare.com",
        "ts.net",
        "uk.com",
        "us.com",
        "vercel.app",
        "windows.net",
        "workers.dev",
    ];
    let two = format!("{second}.{top}");
    let count = if tenants.contains(&two.as_str()) {
        return None;
    } else if shared {
        3
    } else {
        2
    };
    (labels.len() >= count).then(|| {
        let length: usize = labels[..count].iter().map(|label| label.len() + 1).sum::<usize>() - 1;
        &name[name.len() - length..]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_goes_only_where_the_registry_belongs() {
        let belongs = |registry: &str, realm: &str| {
            belongs(&registry.parse().expect("a URL"), &realm.parse().expect("a URL"))
        };
        assert!(belongs("https://registry-1.docker.io", "https://auth.docker.io/token"));
        assert!(belongs("https://registry.gitlab.com", "https://gitlab.com/jwt/auth"));
        assert!(belongs("https://ghcr.io", "https://ghcr.io/token"));
        assert!(belongs("http://127.0.0.1:5000", "http://localhost:5001/token"));
        assert!(belongs("https://r.example.co.uk", "https://auth.example.co.uk"));
        for (registry, realm) in [
            ("https://registry-1.docker.io", "https://auth.docker.io.evil.example/token"),
            ("https://registry-1.docker.io", "http://auth.docker.io/token"),
            ("https://a.co.uk", "https://b.co.uk"),
            ("https://a.azurecr.io", "https://b.azurecr.io"),
            ("https://ghcr.io", "https://evil.io"),
            ("https://10.0.0.1", "https://10.0.0.2"),
        ] {
            assert!(!belongs(registry, realm), "{registry} {realm}");
        }
    }
}
