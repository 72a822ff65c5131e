//! Where a redirect leads, and whether hubcap goes there.

use std::fmt::Write as _;
use std::net::IpAddr;

use http::{HeaderValue, Method, StatusCode, header};
use reqwest::Response;
use url::Url;

use crate::address::{
    AddressPolicy, is_link_local, is_loopback, is_of_proxy, is_of_this_machine, is_private, is_public,
};
use crate::error::Error;
use crate::request::Request;

/// As many as Go's clients follow; more than this is a loop.
pub(crate) const MAX_REDIRECTS: usize = 10;

/// The request to where an answer redirects. `origin` is where the first request of the chain went.
///
/// # Errors
/// [`Error::Invalid`] for a redirect that leads nowhere, or where it must not.
pub(crate) fn follow(mut request: Request, response: &Response, origin: &Url) -> Result<Request, Error> {
    let location = response.headers().get(header::LOCATION);
    request.url = location
        .and_then(|location| target(&request.url, location))
        .ok_or_else(|| Error::invalid("a redirect without a usable Location"))?;
    request.policy = policy_after(response, request.policy);
    check(origin, &request.url, request.policy)?;
    if let Some(form) = &request.form {
        // RFC 9110, section 15.4: only a 303 makes another request of it.
        if response.status() == StatusCode::SEE_OTHER {
            request.form = None;
            request.method = Method::GET;
            request.headers.remove(header::CONTENT_TYPE);
        } else if !form.reach.includes(&request.url) {
            return Err(Error::invalid("a redirect of a login to a host that it does not belong to"));
        }
    }
    Ok(request)
}

/// A Location as a URL. It should be ASCII (RFC 3986); what is not, or is no character of a URL, is escaped as browsers
/// and Go escape it.
pub(crate) fn target(base: &Url, location: &HeaderValue) -> Option<Url> {
    let mut text = String::new();
    for &byte in location.as_bytes().trim_ascii() {
        match byte {
            // Which a URL's parser would take for a slash.
            b'\\' => text.push_str("%5C"),
            b'!'..=b'~' => text.push(char::from(byte)),
            _ => write!(text, "%{byte:02X}").ok()?,
        }
    }
    let mut url = base.join(&text).ok().filter(|_| !text.is_empty())?;
    url.set_fragment(None);
    // Nobody is shown a login that a URL has in it, and no log has it.
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    Some(url)
}

/// The policy for the hosts that an answer names: an answer from the Internet may name hosts of the Internet only, one
/// from a network that the operator named may name hosts within it. What is asked through a proxy is in the Internet.
pub(crate) fn policy_after(response: &Response, asked: AddressPolicy) -> AddressPolicy {
    response.remote_addr().map_or(asked, |address| {
        let is_of_internet = is_public(address.ip()) || is_of_proxy(address);
        after(address.ip(), is_of_internet, asked)
    })
}

fn after(ip: IpAddr, is_of_internet: bool, asked: AddressPolicy) -> AddressPolicy {
    match asked {
        _ if is_of_internet => AddressPolicy::PublicOnly,
        AddressPolicy::Any if !is_of_this_machine(ip) => AddressPolicy::Elsewhere,
        asked => asked,
    }
}

/// A public registry must not lead us to this machine or its network, nor any one out of TLS.
fn check(origin: &Url, next: &Url, policy: AddressPolicy) -> Result<(), Error> {
    match (origin.scheme(), next.scheme()) {
        ("https", "https") | ("http", "http" | "https") => {}
        ("https", "http") => return Err(Error::invalid("a redirect from https to http")),
        _ => return Err(Error::invalid("a redirect to something that is not http")),
    }
    check_target(origin, next, policy).map_err(|why| Error::invalid(format!("a redirect {why}")))
}

/// Whether `next` is an allowed target for a registry at `origin`, as far as the URL itself shows it. The addresses
/// behind a name are checked by [`Resolver`](crate::address::Resolver).
///
/// # Errors
/// Why not, to be put behind "a redirect".
pub(crate) fn check_target(origin: &Url, next: &Url, policy: AddressPolicy) -> Result<(), &'static str> {
    if policy == AddressPolicy::PublicOnly && is_private(next) {
        return Err("from a public registry to a private address");
    }
    if is_loopback(next) && (policy == AddressPolicy::Elsewhere || !is_private(origin)) {
        return Err("from another machine to this one");
    }
    if is_link_local(next) && !is_link_local(origin) {
        return Err("to a link's own address, where clouds have their secrets");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::credentials::Secret;
    use crate::request::{Form, Reach};

    fn follows(from: &str, to: &str) -> bool {
        let from: Url = from.parse().expect("a URL");
        let policy = if is_private(&from) { AddressPolicy::Any } else { AddressPolicy::PublicOnly };
        check(&from, &to.parse().expect("a URL"), policy).is_ok()
    }

    #[test]
    fn a_public_registry_leads_nowhere_private_and_not_out_of_tls() {
        assert!(follows("https://registry-1.docker.io", "https://production.cloudfront.docker.com/x?sig=1"));
        assert!(follows("https://registry-1.docker.io", "https://[64:ff9b::808:808]/x"));
        assert!(follows("https://registry-1.docker.io", "https://100.128.0.1/x"));
        assert!(follows("http://127.0.0.1:5000", "http://127.0.0.1:6000"));
        assert!(follows("http://10.0.0.1", "https://cdn.example"));
        for to in [
            "http://cdn.example",
            "ftp://cdn.example",
            "https://127.0.0.1",
            "https://localhost",
            "https://10.1.2.3",
            "https://169.254.169.254/latest",
            "https://[::1]",
            "https://[::ffff:127.0.0.1]",
            "https://0.0.0.0",
            "https://0.1.2.3",
            "https://100.100.100.200/latest",
            "https://255.255.255.255",
            "https://[64:ff9b::a9fe:a9fe]/latest",
            "https://[fd00::1]",
            "https://[ff02::1]",
            "https://2130706433",
        ] {
            assert!(!follows("https://registry-1.docker.io", to), "{to}");
        }
        // One that is known by a name leads to this machine no more, however that is spelled.
        for to in ["http://127.1", "http://0.0.0.0", "http://0", "http://[::]", "http://[::ffff:127.0.0.1]"] {
            let (from, to) = ("http://registry.internal".parse().expect("a URL"), to.parse().expect("a URL"));
            assert!(check(&from, &to, AddressPolicy::Any).is_err(), "{to}");
        }
        let (from, to) =
            ("http://10.0.0.7".parse().expect("a URL"), "http://127.0.0.1:9".parse().expect("a URL"));
        let policy_of = |ip: &str| after(ip.parse().expect("an address"), false, AddressPolicy::Any);
        assert!(
            check(&from, &to, policy_of("10.0.0.7")).is_err(),
            "a network's registry has no business here"
        );
        assert!(check(&to, &to, policy_of("127.0.0.1")).is_ok(), "one of this machine may be in two parts");
        // Nobody's blobs are at a cloud's metadata service.
        assert!(!follows("http://127.0.0.1:5000", "http://169.254.169.254/latest/meta-data"));
    }

    #[test]
    fn every_location_that_browsers_and_go_take_is_understood() {
        let base: Url = "https://r.example:5000/v2/org/app/blobs/x?a=b".parse().expect("a URL");
        for (location, wanted) in [
            (&b"/elsewhere"[..], "https://r.example:5000/elsewhere"),
            (b"//cdn.example/x", "https://cdn.example/x"),
            (b"../y", "https://r.example:5000/v2/org/app/y"),
            (b"?sig=1", "https://r.example:5000/v2/org/app/blobs/x?sig=1"),
            (b"https://cdn.example/a b?c=d e#part", "https://cdn.example/a%20b?c=d%20e"),
            ("https://cdn.example/bl\u{f6}b?n=\u{f6}".as_bytes(), "https://cdn.example/bl%C3%B6b?n=%C3%B6"),
            (b"https://cdn.example/bl\xf6b", "https://cdn.example/bl%F6b"),
            (b"https://cdn.example/a\\b", "https://cdn.example/a%5Cb"),
            (b"https://cdn.example/a%2Fb%20c?sig=a%2Bb+c%3D", "https://cdn.example/a%2Fb%20c?sig=a%2Bb+c%3D"),
            ("https://b\u{fc}cher.example/x".as_bytes(), "https://xn--bcher-kva.example/x"),
            (b" https://cdn.example/x ", "https://cdn.example/x"),
            (b"HTTPS://CDN.example/X", "https://cdn.example/X"),
        ] {
            let value = HeaderValue::from_bytes(location).expect("a value");
            assert_eq!(target(&base, &value).map(String::from).as_deref(), Some(wanted));
        }
        for location in ["", "https://", "http://[::1"] {
            assert_eq!(target(&base, &HeaderValue::from_static(location)), None, "{location}");
        }
    }

    #[test]
    fn a_form_with_a_login_goes_only_where_it_belongs() {
        let origin: Url = "https://auth.docker.io/token".parse().expect("a URL");
        let redirected = |status: u16, location: &str| {
            let reach = Reach::Owner("https://registry-1.docker.io".parse().expect("a URL"));
            let form = Some(Form { text: Secret::new("password=hunter2"), reach });
            let request = Request::new(Method::POST, origin.clone(), HeaderMap::new(), AddressPolicy::Any);
            let response = http::Response::builder().status(status).header(header::LOCATION, location);
            let response = response.body(reqwest::Body::default()).expect("an answer").into();
            follow(Request { form, ..request }, &response, &origin)
        };
        for status in [301, 302, 307, 308] {
            let next = redirected(status, "https://login.docker.io/token").expect("followed");
            assert_eq!((next.method, next.form.is_some()), (Method::POST, true));
            let refused = redirected(status, "https://docker.evil/token");
            assert!(matches!(refused, Err(Error::Invalid { .. })), "{status}");
        }
        let next = redirected(303, "https://docker.evil/done").expect("followed");
        assert_eq!((next.method, next.form.is_some()), (Method::GET, false));
        assert!(redirected(307, "http://auth.docker.io/token").is_err());
    }
}
