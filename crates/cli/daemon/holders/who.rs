//! Who a holder is.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The variable that names a holder where nothing else tells two of them apart.
const NAME: &str = "HUBCAP_HOLDER";

/// Variables that name a job, the same in all its steps, by CI system. The first one must be set.
///
/// | system | source |
/// |---|---|
/// | GitHub, Forgejo, Gitea | docs.github.com, "Variables reference"; two legs of a matrix have different runners |
/// | GitLab | docs.gitlab.com, "Predefined CI/CD variables reference" |
/// | Buildkite | buildkite.com/docs, "Environment variables" |
/// | CircleCI | circleci.com/docs, "Project values and variables" |
/// | Azure Pipelines | learn.microsoft.com, "Predefined variables" |
/// | Jenkins | jenkins.io, "Using environment variables" |
const JOBS: [&[&str]; 7] = [
    &["GITHUB_RUN_ID", "GITHUB_RUN_ATTEMPT", "GITHUB_JOB", "RUNNER_NAME"],
    &["GITHUB_JOB", "RUNNER_NAME"],
    &["CI_JOB_ID"],
    &["BUILDKITE_JOB_ID"],
    &["CIRCLE_WORKFLOW_JOB_ID"],
    &["SYSTEM_JOBID"],
    &["BUILD_TAG"],
];

/// Who needs hubcap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Who {
    /// `hubcap setup` of this client, until its `unset`.
    Setup(String),
    /// `hubcap up` in a CI job, by the variables that name it.
    Job(Vec<String>),
    /// `hubcap up` of a user outside of a job, in whichever terminal: `down` may be typed in another one.
    User(u32),
    /// `hubcap up` under a name that was given.
    Named(String),
}

impl Who {
    /// Who runs `up` and `down` here.
    pub(crate) fn of_this_process() -> Self {
        let user = rustix::process::geteuid().as_raw();
        Self::from(user, |name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn from(user: u32, variable: impl Fn(&'static str) -> Option<String>) -> Self {
        if let Some(name) = variable(NAME) {
            return Self::Named(name);
        }
        let job = JOBS.iter().find(|names| names.first().is_some_and(|first| variable(first).is_some()));
        let named = |names: &&[&'static str]| {
            Self::Job(names.iter().filter_map(|name| Some(format!("{name}={}", variable(name)?))).collect())
        };
        job.map_or(Self::User(user), named)
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setup(client) => write!(f, "`hubcap setup {client}`"),
            Self::Job(variables) => write!(f, "the job {}", variables.join(" ")),
            Self::User(user) => write!(f, "`hubcap up` of the user {user}"),
            Self::Named(name) => write!(f, "`hubcap up` with {NAME}={name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(variables: &[(&str, &str)]) -> Who {
        Who::from(1000, |name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn two_jobs_are_two_holders_and_two_steps_of_a_job_are_one() {
        let job = |run: &'static str, job: &'static str, runner: &'static str| {
            who(&[("GITHUB_RUN_ID", run), ("GITHUB_JOB", job), ("RUNNER_NAME", runner)])
        };
        assert_eq!(job("1", "build", "a"), job("1", "build", "a"));
        for other in [job("2", "build", "a"), job("1", "test", "a"), job("1", "build", "b")] {
            assert_ne!(job("1", "build", "a"), other);
        }
        assert_ne!(who(&[("CI_JOB_ID", "1")]), who(&[("CI_JOB_ID", "2")]));
        assert_ne!(who(&[("GITHUB_JOB", "a")]), who(&[("GITHUB_JOB", "b")]));
    }

    #[test]
    fn outside_of_a_job_the_user_or_a_given_name_is_the_holder() {
        assert_eq!(who(&[]), Who::User(1000));
        assert_eq!(who(&[("GITHUB_RUN_ID", "1"), (NAME, "nightly")]), Who::Named("nightly".into()));
    }
}
