#!/bin/bash
# Runs `dbutterfly "$@"` in a Slurm job, and goes on in the next job when the time of this one is up.
#
# Slurm sends USR1 some time before the limit (#SBATCH --signal). The program is then asked to end: it keeps what is
# finished, and cancels the jobs of its workers. The job is queued again under its own number; the same command resumes.
# An error is no such end: it is reported, and nothing is queued.
set -euo pipefail

restarts=${SLURM_RESTART_COUNT:-0}
most=${DBUTTERFLY_RESTARTS:-100} # a run that gets nowhere must end some day
out_of_time=

stop() {
  echo "run.sh: $1, $(date)"
  kill -TERM "$program" 2>/dev/null || true
}

dbutterfly "$@" &
program=$!
trap 'out_of_time=yes; stop "the time of this job is nearly up"' USR1
trap 'stop "this job is being cancelled"' TERM

status=0
wait "$program" || status=$?
while ((status > 128)) && kill -0 "$program" 2>/dev/null; do # a signal ended the waiting, not the program
  status=0
  wait "$program" || status=$?
done

if [[ -n $out_of_time && $status -ne 0 ]]; then
  if ((restarts >= most)); then
    echo "run.sh: not finished after $restarts restarts (DBUTTERFLY_RESTARTS=$most)" >&2
    exit "$status"
  fi
  echo "run.sh: job $SLURM_JOB_ID goes on in its restart $((restarts + 1))"
  scontrol requeue "$SLURM_JOB_ID"
  sleep 60 # Slurm ends this script
fi
exit "$status"
