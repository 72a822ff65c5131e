#!/usr/bin/env bash
# A hook of a self-hosted runner, for machines without systemd: the runner calls it before each job, and before it pulls
# the images of `container:` and `services:`. In the runner's .env file:
#
#     ACTIONS_RUNNER_HOOK_JOB_STARTED=/opt/hubcap/job-started.sh
#
# A hook that fails would fail the job, so this one never does.

# The daemon is the machine's, not the job's: it has to outlive the job, at whose end the runner ends all that carries
# this variable; and its store is the machine's too, not one in a job's workspace.
unset RUNNER_TRACKING_ID
export HUBCAP_STORE="${HUBCAP_STORE:-$HOME/.cache/hubcap}"

hubcap health >/dev/null 2>&1 || hubcap up --max-size 50GiB --tag-ttl 15m \
    || echo "::warning title=hubcap::it does not run; docker pulls without it"
exit 0
