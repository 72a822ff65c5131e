//! What is known of one upstream's challenges: what it wants of whom, the tokens that it takes, and whether it took hubcap's
//! login.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use http::header::HeaderValue;
use hubcap_oci::Repository;
use url::Origin;

use super::header::bearer;
use super::token::{Realm, Token};
use crate::credentials::Secret;

/// How many requesters are remembered that are wanted something else of than all others, and in how many bytes: a registry
/// chooses the texts. Beyond, all are forgotten.
const MAX_OWN: usize = 1024;
const MAX_OWN_BYTES: usize = 1 << 20;
/// Places, other than the registry's own, that are remembered of a requester. Beyond, all of his are forgotten: each may cost a
/// request to a token service whenever he asks for anything.
const MAX_PLACES: usize = 4;
/// Tokens that are kept at most, in how many bytes, and for how long: a registry may give long ones that last for years.
const MAX_TOKENS: usize = 1024;
const MAX_TOKEN_BYTES: usize = 1 << 20;
const LONGEST: Duration = Duration::from_secs(3600);
/// How long a login that was refused is not tried again: services lock who tries too often.
const REFUSED: Duration = Duration::from_secs(300);

/// On whose behalf an upstream is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Who {
    /// hubcap itself, with its login where it has one.
    Own,
    /// Nobody in particular, without a login.
    Anonymous,
    /// A client, with the Authorization that it sent. It goes to the registry and nowhere else, as it is.
    Client(Secret),
}

/// On whose behalf an upstream is asked, and for which repository: what a token is good for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Requester {
    pub(crate) who: Who,
    pub(crate) repository: Repository,
}

impl Requester {
    /// The scope that a pull needs.
    pub(super) fn scope(&self) -> String {
        format!("repository:{}:pull", self.repository)
    }
}

/// A requester at a place: at the registry itself, or at where its redirects lead.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) place: Origin,
    pub(super) requester: Requester,
}

impl Key {
    /// What is kept of it, in bytes, about.
    fn size(&self) -> usize {
        let client = match &self.requester.who {
            Who::Client(authorization) => authorization.expose().len(),
            Who::Own | Who::Anonymous => 0,
        };
        size_of::<Self>() + self.requester.repository.as_str().len() + client
    }
}

/// How an upstream wants to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scheme {
    Basic,
    Bearer(Realm),
}

/// What a challenge wants: one of the schemes, for all of the scopes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Want {
    /// Never empty.
    pub(super) schemes: Vec<Scheme>,
    pub(super) scopes: Vec<String>,
}

impl Want {
    /// What is kept of it, in bytes, about.
    fn size(&self) -> usize {
        let scheme = |scheme: &Scheme| match scheme {
            Scheme::Basic => 0,
            Scheme::Bearer(realm) => realm.url.as_str().len() + realm.service.as_ref().map_or(0, String::len),
        };
        let schemes = self.schemes.iter().map(|one| size_of::<Scheme>() + scheme(one));
        let scopes = self.scopes.iter().map(|scope| size_of::<String>() + scope.len());
        schemes.chain(scopes).sum()
    }
}

/// What hubcap's login was good for.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Standing {
    #[default]
    Untried,
    Works,
    Refused(Instant),
}

#[derive(Debug)]
pub(super) struct State {
    registry: Origin,
    /// What the registry wants of everybody, with the scope that a pull needs.
    usual: Option<Vec<Scheme>>,
    /// What is wanted of a requester besides.
    own: HashMap<Key, Want>,
    tokens: HashMap<Key, Token>,
    standing: Standing,
    is_refusal_told: bool,
}

impl State {
    pub(super) fn new(registry: Origin) -> Self {
        Self {
            registry,
            usual: None,
            own: HashMap::new(),
            tokens: HashMap::new(),
            standing: Standing::default(),
            is_refusal_told: false,
        }
    }

    /// What is wanted of a requester, as far as earlier challenges tell.
    pub(super) fn want(&self, key: &Key) -> Option<Want> {
        let usual = self.usual.as_ref().filter(|_| key.place == self.registry);
        let usual =
            || usual.map(|schemes| Want { schemes: schemes.clone(), scopes: vec![key.requester.scope()] });
        self.own.get(key).cloned().or_else(usual)
    }

    /// The places, other than the registry's own, where something was wanted of a requester.
    pub(super) fn elsewhere(&self, requester: &Requester) -> Vec<Key> {
        let of_requester = |key: &&Key| key.requester == *requester && key.place != self.registry;
        self.own.keys().filter(of_requester).cloned().collect()
    }

    /// Takes what a challenge wants of a requester. A password is had at once. A token service is every other repository's only
    /// when it has given a token: it may be one that this repository names alone.
    pub(super) fn learn(&mut self, key: Key, want: Want) {
        if want.schemes == [Scheme::Basic] && self.is_usual(&key, &want) {
            self.own.remove(&key);
            self.usual = Some(want.schemes);
            return;
        }
        self.own.remove(&key);
        let elsewhere = self.elsewhere(&key.requester);
        if elsewhere.len() >= MAX_PLACES {
            self.own.retain(|known, _| !elsewhere.contains(known));
        }
        let size = |(key, want): (&Key, &Want)| key.size() + want.size();
        let bytes = self.own.iter().map(size).sum::<usize>() + size((&key, &want));
        if self.own.len() >= MAX_OWN || bytes > MAX_OWN_BYTES {
            self.own.clear();
        }
        self.own.insert(key, want);
    }

    /// Whether everybody may be wanted the same, each with the scope that a pull needs.
    fn is_usual(&self, key: &Key, want: &Want) -> bool {
        key.place == self.registry && want.scopes == [key.requester.scope()]
    }

    /// Forgets what is wanted of a requester, and of everybody, if that is what it is.
    pub(super) fn forget_want(&mut self, key: &Key) {
        if self.own.remove(key).is_none() {
            self.usual = None;
        }
    }

    /// The Authorization by a token that is still good.
    pub(super) fn cached(&mut self, key: &Key, now: Instant) -> Option<HeaderValue> {
        self.tokens.retain(|_, token| token.until > now);
        self.tokens.get(key).and_then(|token| bearer(&token.value).ok())
    }

    /// Keeps a token, for an hour at most. Those that end first go, where there are too many.
    pub(super) fn keep(&mut self, key: Key, token: Token, now: Instant) {
        // It is expected of all others from now on, so that they need no challenge of their own.
        if self.own.get(&key).is_some_and(|want| self.is_usual(&key, want)) {
            self.usual = self.own.remove(&key).map(|want| want.schemes);
        }
        self.tokens.remove(&key);
        let size = |(key, token): (&Key, &Token)| key.size() + token.value.expose().len();
        let mut bytes = self.tokens.iter().map(size).sum::<usize>() + size((&key, &token));
        while self.tokens.len() >= MAX_TOKENS || bytes > MAX_TOKEN_BYTES {
            let Some(first) = self.tokens.iter().min_by_key(|(_, token)| token.until) else { break };
            bytes -= size(first);
            let first = first.0.clone();
            self.tokens.remove(&first);
        }
        let until = token.until.min(now + LONGEST);
        self.tokens.insert(key, Token { until, ..token });
    }

    pub(super) fn forget_token(&mut self, key: &Key) {
        self.tokens.remove(key);
    }

    /// Whether the login is worth a try.
    pub(super) fn is_login_good(&self, now: Instant) -> bool {
        !matches!(self.standing, Standing::Refused(at) if now.duration_since(at) < REFUSED)
    }

    pub(super) const fn note_login_works(&mut self) {
        self.standing = Standing::Works;
    }

    /// Notes that the login itself was refused. One that has worked was refused for what was asked for with it.
    pub(super) fn note_login_refused(&mut self, now: Instant) {
        if self.standing != Standing::Works {
            self.standing = Standing::Refused(now);
        }
    }

    /// Whether a refused login has to be told; that is so once.
    pub(super) const fn must_tell_refusal(&mut self) -> bool {
        !std::mem::replace(&mut self.is_refusal_told, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(repository: &str) -> Key {
        let requester = Requester { who: Who::Own, repository: repository.parse().expect("a repository") };
        Key { place: origin("https://r.example"), requester }
    }

    fn origin(url: &str) -> Origin {
        url::Url::parse(url).expect("a URL").origin()
    }

    fn realm(service: Option<String>) -> Realm {
        let url = url::Url::parse("https://auth.example/token").expect("a URL");
        Realm { url, service, policy: crate::address::AddressPolicy::PublicOnly }
    }

    fn want(scopes: &[&str]) -> Want {
        Want { schemes: vec![Scheme::Basic], scopes: scopes.iter().map(|&scope| scope.into()).collect() }
    }

    #[test]
    fn what_is_usual_is_expected_of_all_repositories_of_the_registry_and_what_is_not_of_none() {
        let mut state = State::new(origin("https://r.example"));
        assert_eq!(state.want(&key("a")), None);
        state.learn(key("a"), want(&["repository:a:pull,push"]));
        assert_eq!(state.want(&key("b")), None);
        state.learn(key("b"), want(&["repository:b:pull"]));
        assert_eq!(state.own.len(), 1, "what is usual is not kept for each");
        assert_eq!(state.want(&key("c")), Some(want(&["repository:c:pull"])));
        assert_eq!(state.want(&key("a")), Some(want(&["repository:a:pull,push"])));
        let elsewhere = Key { place: origin("https://cdn.example"), ..key("a") };
        assert_eq!(state.want(&elsewhere), None);
        state.learn(elsewhere.clone(), want(&["repository:a:pull"]));
        assert_eq!(state.elsewhere(&key("a").requester), [elsewhere]);
        assert_eq!(state.elsewhere(&key("c").requester), []);
    }

    #[test]
    fn a_token_service_is_everybodys_when_it_has_given_a_token() {
        let (mut state, now) = (State::new(origin("https://r.example")), Instant::now());
        let schemes = vec![Scheme::Bearer(realm(None))];
        state.learn(key("a"), Want { schemes: schemes.clone(), scopes: vec!["repository:a:pull".into()] });
        assert_eq!(state.want(&key("b")), None);
        let token = |life| Token { value: Secret::new("t"), until: now + Duration::from_secs(life) };
        state.keep(key("a"), token(60), now);
        assert_eq!(state.want(&key("b")).expect("wanted").schemes, schemes);
        state.forget_want(&key("b"));
        assert_eq!(state.want(&key("a")), None, "it is asked what it wants now");
    }

    #[test]
    fn tokens_are_kept_for_an_hour_and_not_without_a_limit() {
        let (mut state, now) = (State::new(origin("https://r.example")), Instant::now());
        for number in 0..2 * MAX_TOKENS {
            let token = Token { value: Secret::new("t"), until: now + Duration::from_secs(100_000_000) };
            state.keep(key(&format!("a{number}")), token, now);
        }
        assert_eq!(state.tokens.len(), MAX_TOKENS);
        let last = key(&format!("a{}", 2 * MAX_TOKENS - 1));
        assert!(state.cached(&last, now).is_some() && state.cached(&last, now + LONGEST).is_none());
    }

    #[test]
    fn long_tokens_are_kept_in_a_bounded_amount_of_memory() {
        let (mut state, now) = (State::new(origin("https://r.example")), Instant::now());
        let token = || Token { value: Secret::new("t".repeat(16 << 10)), until: now + LONGEST };
        for number in 0..MAX_TOKENS {
            state.keep(key(&format!("a{number}")), token(), now);
        }
        let bytes: usize = state.tokens.values().map(|token| token.value.expose().len()).sum();
        assert!((MAX_TOKEN_BYTES / 2..=MAX_TOKEN_BYTES).contains(&bytes), "{bytes}");
        let last = key(&format!("a{}", MAX_TOKENS - 1));
        assert!(state.cached(&last, now).is_some());
    }

    #[test]
    fn what_challenges_want_is_kept_in_a_bounded_amount_of_memory() {
        let mut state = State::new(origin("https://r.example"));
        let realm = realm(Some("s".repeat(4096)));
        let want = Want { schemes: vec![Scheme::Bearer(realm); 4], scopes: vec!["s".into(); 2048] };
        let mut most = 0;
        for number in 0..MAX_OWN {
            let key = key(&format!("a{number}"));
            state.learn(key.clone(), want.clone());
            assert_eq!(state.want(&key).as_ref(), Some(&want));
            most = most.max(state.own.values().map(Want::size).sum::<usize>());
        }
        assert!((MAX_OWN_BYTES / 2..=MAX_OWN_BYTES).contains(&most), "{most}");
    }

    #[test]
    fn a_requester_who_is_led_to_ever_new_places_is_wanted_something_at_a_few() {
        let mut state = State::new(origin("https://r.example"));
        state.learn(key("a"), want(&["repository:a:pull,push"]));
        for number in 0..100 {
            let place = Key { place: origin(&format!("https://cdn{number}.example")), ..key("a") };
            state.learn(place.clone(), want(&["repository:a:pull"]));
            let elsewhere = state.elsewhere(&place.requester);
            assert!(elsewhere.contains(&place) && elsewhere.len() <= MAX_PLACES, "{elsewhere:?}");
        }
        assert!(state.own.contains_key(&key("a")), "what the registry itself wants is still known");
    }

    #[test]
    fn a_refused_login_is_told_once_and_left_alone_for_a_while() {
        let (mut state, now) = (State::new(origin("https://r.example")), Instant::now());
        assert!(state.is_login_good(now));
        state.note_login_refused(now);
        assert!(!state.is_login_good(now) && state.is_login_good(now + REFUSED));
        assert!(state.must_tell_refusal() && !state.must_tell_refusal());
        // A good login may not have everything.
        state.note_login_works();
        state.note_login_refused(now);
        assert!(state.is_login_good(now));
    }
}
