//! The job's token and the signed URLs: nothing shows them.

use std::io;
use std::sync::{Arc, Mutex};

use tracing::{Dispatch, Level};

use super::upload::put;
use super::{MIB, TEN_MINUTES, content, fetched, named, of_main};
use crate::support::actions_cache::{ActionsCache as Stand, BOTH, MAIN};
use crate::support::noise;

/// Everything that is logged on this thread, however fine.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic before").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Looks for the stand-in's signatures, and for the token.
fn assert_no_secret(shown: &str) {
    let token = Stand::token(&[(MAIN, BOTH)]);
    for secret in ["s3cret", "sig=", &token[..20]] {
        assert!(!shown.contains(secret), "{secret}: {shown}");
    }
}

#[tokio::test]
async fn no_secret_is_in_an_error_or_a_value_that_is_shown() {
    let stand = Stand::start();
    let key = content(b"it");
    stand.put(MAIN, named(&key), "it");
    let cache = of_main(&stand);
    let entry = cache.find(&key).await.expect("an answer").expect("an entry");
    let file = entry.file(None, None);
    let mut shown = format!("{cache:?}{entry:?}{file:?}{file}");
    let mut show = |error: &dyn std::error::Error| shown += &format!("{error:?}{error}");
    stand.fail(&[500, 400]);
    for _ in 0..2 {
        show(&fetched(file.clone()).await.expect_err("refused"));
    }
    stand.evict(key.key());
    show(&fetched(file.clone()).await.expect_err("evicted"));
    drop(stand);
    show(&fetched(file).await.expect_err("away"));
    show(&cache.find(&key).await.expect_err("away"));
    show(&put(&cache, b"it").await.expect_err("away"));
    assert_no_secret(&shown);
}

#[tokio::test]
async fn no_secret_is_in_a_log() {
    // While there is one subscriber alone, a line that another thread comes to first is never logged.
    let _other = Dispatch::new(tracing_subscriber::registry());
    let log = Log::default();
    let writer = log.clone();
    let all = tracing_subscriber::fmt().with_ansi(false).with_max_level(Level::TRACE);
    // The runtime has this thread alone, so all of its tasks log here.
    let _guard = tracing::subscriber::set_default(all.with_writer(move || writer.clone()).finish());
    let stand = Stand::start();
    let (cache, bytes) = (of_main(&stand), noise(MIB, 1));
    stand.fail(&[500]);
    stand.refuse("CreateCacheEntry", 1, 1);
    put(&cache, &bytes).await.expect("saved");
    let entry = cache.find(&content(&bytes)).await.expect("an answer").expect("an entry");
    stand.cut(&[MIB as u64 / 2]);
    stand.advance(TEN_MINUTES);
    assert!(fetched(entry.file(None, None)).await.expect("bytes") == bytes);
    let log = String::from_utf8_lossy(&log.0.lock().expect("no panic before")).into_owned();
    for told in [
        "looking an entry up again",
        "resuming the fetch",
        "sending to the Actions cache again",
        "takes no new",
    ] {
        assert!(log.contains(told), "{told}: {log}");
    }
    assert_no_secret(&log);
}
