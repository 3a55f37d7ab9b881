#!/bin/bash
# A factorization on the GPUs of this machine: run.sh MATRIX STORE [options of dbutterfly factorize]
#
# One worker process for each GPU that CUDA_VISIBLE_DEVICES leaves, or that there is. Its host memory is an equal share of
# the machine's. A second run of the same command resumes one that was cut off.
set -euo pipefail

exec dbutterfly factorize --cluster cuda --backend "${DBUTTERFLY_BACKEND:-cupy}" --verify "$@"
