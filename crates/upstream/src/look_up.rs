//! Names and their addresses, as the system's resolver finds them.
//!
//! The system's resolver keeps a thread for as long as a name server does not answer: for ten seconds, if nobody says
//! otherwise, also when who asked has gone. Threads that write contents to the disk come from the same pool. Therefore there are
//! so many look-ups at a time and no more, shared between domains, and who wants the same name waits for the same look-up.

use std::collections::HashMap;
use std::io::{Error, ErrorKind};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::pin::pin;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

/// Look-ups at a time. A domain gets one more only while more are free than it has: alone it gets half of them.
const MOST: usize = 64;

static LOOK_UPS: LazyLock<LookUps> = LazyLock::new(LookUps::default);

/// The addresses of a name, with `port`.
///
/// # Errors
/// The system's.
pub(crate) async fn addresses(name: &str, port: u16) -> std::io::Result<Vec<SocketAddr>> {
    if let Ok(ip) = name.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let found = LOOK_UPS.find(name, |name| Ok((name, 0).to_socket_addrs()?.collect())).await?;
    Ok(found.iter().map(|address| SocketAddr::new(address.ip(), port)).collect())
}

/// What came of a look-up.
type Found = Result<Arc<[SocketAddr]>, Arc<Error>>;

/// The look-ups that run; a clone is another handle of the same.
#[derive(Debug, Clone, Default)]
struct LookUps(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    ended: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// By name.
    running: HashMap<String, watch::Receiver<Option<Found>>>,
    /// How many of them each domain has.
    domains: HashMap<String, usize>,
}

/// A look-up that runs, until this is dropped.
struct Running {
    look_ups: LookUps,
    name: String,
}

impl LookUps {
    /// Looks a name up by `look_up`, which may block, or waits for who does so already.
    async fn find(
        &self,
        name: &str,
        look_up: impl Fn(&str) -> std::io::Result<Arc<[SocketAddr]>> + Send + Copy + 'static,
    ) -> std::io::Result<Arc<[SocketAddr]>> {
        loop {
            let mut ended = pin!(self.0.ended.notified());
            ended.as_mut().enable();
            let Some(mut running) = self.join(name, look_up) else {
                ended.await;
                continue;
            };
            let found = running.wait_for(Option::is_some).await.ok().and_then(|found| found.clone());
            return found
                .unwrap_or_else(|| Err(Arc::new(ErrorKind::Interrupted.into())))
                .map_err(|error| Error::new(error.kind(), error.to_string()));
        }
    }

    /// The look-up of a name that runs, or begins; `None` while none may begin.
    fn join(
        &self,
        name: &str,
        look_up: impl Fn(&str) -> std::io::Result<Arc<[SocketAddr]>> + Send + 'static,
    ) -> Option<watch::Receiver<Option<Found>>> {
        let mut state = self.state();
        if let Some(running) = state.running.get(name) {
            return Some(running.clone());
        }
        let free = MOST.saturating_sub(state.running.len());
        let taken = state.domains.entry(domain(name).to_owned()).or_default();
        if *taken >= free {
            return None;
        }
        *taken += 1;
        let (tell, told) = watch::channel(None);
        state.running.insert(name.to_owned(), told.clone());
        drop(state);
        let running = Running { look_ups: self.clone(), name: name.to_owned() };
        tokio::task::spawn_blocking(move || {
            let found = look_up(&running.name).map_err(Arc::new);
            drop(running);
            tell.send_replace(Some(found));
        });
        Some(told)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = self.look_ups.state();
        state.running.remove(&self.name);
        if let Some(taken) = state.domains.get_mut(domain(&self.name)) {
            *taken -= 1;
        }
        state.domains.retain(|_, taken| *taken > 0);
        drop(state);
        self.look_ups.0.ended.notify_waiters();
    }
}

/// The last two labels of a name: who has a domain can make up as many names in it as he likes.
fn domain(name: &str) -> &str {
    let name = name.trim_end_matches('.');
    name.rmatch_indices('.').nth(1).map_or(name, |(at, _)| &name[at + 1..])
}

#[cfg(test)]
mod tests {
    use std::sync::Condvar;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    fn nothing(_: &str) -> std::io::Result<Arc<[SocketAddr]>> {
        Ok(Arc::new([]))
    }

    /// A name server that does not answer until it is opened.
    #[derive(Default)]
    struct Server {
        is_open: Mutex<bool>,
        opened: Condvar,
        asked: AtomicUsize,
    }

    impl Server {
        fn silent() -> &'static Self {
            Box::leak(Box::default())
        }

        fn ask(&self, name: &str) -> std::io::Result<Arc<[SocketAddr]>> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let is_open = self.is_open.lock().expect("no panic");
            drop(self.opened.wait_while(is_open, |is_open| !*is_open).expect("no panic"));
            nothing(name)
        }

        fn open(&self) {
            *self.is_open.lock().expect("no panic") = true;
            self.opened.notify_all();
        }
    }

    #[tokio::test]
    async fn a_domain_whose_name_server_is_silent_leaves_look_ups_to_others() {
        let (look_ups, server) = (LookUps::default(), Server::silent());
        let ask = |name: &str| server.ask(name);
        let begun = (0..MOST).filter(|number| look_ups.join(&format!("h{number}.wild.test"), ask).is_some());
        assert_eq!(begun.count(), MOST / 2);
        look_ups.find("registry.good.test", nothing).await.expect("looked up");
        let mut late = pin!(look_ups.find("late.wild.test", ask));
        assert!(timeout(Duration::from_millis(50), late.as_mut()).await.is_err(), "it waits");
        server.open();
        late.await.expect("looked up after the others");
    }

    #[tokio::test]
    async fn who_wants_the_same_name_waits_for_the_same_look_up() {
        let (look_ups, server) = (LookUps::default(), Server::silent());
        let ask = |name: &str| server.ask(name);
        let all: Vec<_> = (0..8).map_while(|_| look_ups.join("registry.test", ask)).collect();
        assert_eq!(all.len(), 8);
        server.open();
        for mut one in all {
            assert!(one.wait_for(Option::is_some).await.is_ok());
        }
        assert_eq!(server.asked.load(Ordering::Relaxed), 1);
        look_ups.find("registry.test", ask).await.expect("looked up");
        assert_eq!(server.asked.load(Ordering::Relaxed), 2, "nothing is kept");
    }

    #[test]
    fn names_of_a_domain_are_known_by_its_end() {
        for (name, end) in
            [("localhost", "localhost"), ("good.test", "good.test"), ("a.b.good.test.", "good.test")]
        {
            assert_eq!(domain(name), end);
        }
    }
}
