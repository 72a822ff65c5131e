#!/usr/bin/env bash
# A hook of a self-hosted runner, for machines without systemd. The runner calls it before each job, and before it pulls
# the images of `container:` and `services:`. Name it in the runner's .env file:
#
#     ACTIONS_RUNNER_HOOK_JOB_STARTED=/opt/hubcap/job-started.sh
#
# A hook that fails would fail the job, so this one always exits 0.

# The daemon must outlive the job, but at its end the runner kills every process that has this variable. The store belongs to
# the machine too, so it must not be in a job's workspace.
unset RUNNER_TRACKING_ID
export HUBCAP_STORE="${HUBCAP_STORE:-$HOME/.cache/hubcap}"
# The machine needs the daemon, not this job.
export HUBCAP_HOLDER=machine

hubcap health >/dev/null 2>&1 || hubcap up --max-size 50GiB --tag-ttl 15m \
    || echo "::warning title=hubcap::it does not run; docker pulls without it"
exit 0
