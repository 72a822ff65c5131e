//! What `hubcap doctor` says of one client.

use serde_json::Value;

use crate::clients::said;
use crate::support::machine::Machine;

/// The doctor's report.
pub(crate) struct Doctor {
    about: &'static str,
    code: Option<i32>,
    report: Value,
    /// As a user reads it.
    text: String,
}

impl Doctor {
    pub(crate) fn ask(machine: &Machine, about: &'static str) -> Self {
        let text = machine.hubcap(&["doctor"]).output().expect("hubcap starts");
        let json = machine.hubcap(&["doctor", "--json"]).output().expect("hubcap starts");
        assert_eq!(text.status, json.status, "{}", said(&text));
        let report =
            serde_json::from_slice(&json.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(&json)));
        Self { about, code: json.status.code(), report, text: said(&text) }
    }

    /// Everything that was set up works.
    pub(crate) fn assert_works(&self) {
        assert_eq!(self.code, Some(0), "{}", self.text);
        assert!(self.findings("broken").next().is_none(), "{}", self.text);
    }

    /// The client's pulls use hubcap.
    pub(crate) fn assert_through(&self) {
        assert!(self.of_client("through").next().is_some(), "{}", self.text);
        assert!(self.text.contains(&format!("through hubcap  {}", self.about)), "{}", self.text);
    }

    /// The client's pulls do not use hubcap, which this command changes.
    pub(crate) fn assert_past(&self, remedy: &str) {
        assert!(self.of_client("through").next().is_none(), "{}", self.text);
        let mut past = self.of_client("past");
        assert!(past.any(|finding| finding["mend"] == remedy), "{remedy}: {}", self.text);
        assert!(self.text.contains(&format!("-> {remedy}\n")), "{}", self.text);
    }

    /// Something that was set up does not work.
    pub(crate) fn assert_broken(&self, about: &str, says: &str) {
        assert_eq!(self.code, Some(1), "{}", self.text);
        let mut broken = self.findings("broken").filter(|finding| finding["about"] == about);
        assert!(
            broken.any(|finding| finding["says"].as_str().is_some_and(|text| text.contains(says))),
            "{}",
            self.text
        );
    }

    fn findings<'a>(&'a self, state: &'a str) -> impl Iterator<Item = &'a Value> {
        self.report["findings"].as_array().expect("findings").iter().filter(move |one| one["state"] == state)
    }

    fn of_client<'a>(&'a self, state: &'a str) -> impl Iterator<Item = &'a Value> {
        self.findings(state).filter(|finding| finding["about"] == self.about)
    }
}
