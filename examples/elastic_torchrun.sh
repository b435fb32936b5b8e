#!/bin/bash
# Run the same on each of 1 to 4 machines: MEETING_POINT=first-machine RUNS=/shared/runs ./elastic_torchrun.sh
# When a machine comes or goes, torchrun starts the processes again, now as many as there are; each goes on from the
# last good checkpoint, and no bit of the result changes.
set -euo pipefail

# Without SIGUSR1 in this list torchrun would die of it, and not pass it on.
SIGNALS=SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1

# Without this a machine that joins later waits in vain (torch 2.13 keeps the address of the first meeting).
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1

exec torchrun \
    --nnodes 1:4 \
    --nproc-per-node "${PROCESSES:-2}" \
    --max-restarts 3 \
    --rdzv-backend c10d \
    --rdzv-endpoint "${MEETING_POINT:?the name of the first machine}:${PORT:-29400}" \
    --rdzv-id "${RUN:-digits-256}" \
    --signals-to-handle "$SIGNALS" \
    -m bigbatch train digits \
    --minibatch-size 256 \
    --output "${RUNS:?a folder that every machine sees}/${RUN:-digits-256}" \
    --resume \
    --save-every-seconds 60
