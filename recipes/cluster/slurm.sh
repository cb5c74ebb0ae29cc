#!/bin/bash
# Fine-tunes on the GPUs of several nodes: `sbatch --nodes 2 recipes/cluster/slurm.sh --train_file train.json …`
# from the checkout, on storage that all nodes see. What follows the name of the script are options of the recipe.
# A job that is requeued, or submitted again with the same RUN, goes on after its last checkpoint.
#SBATCH --job-name=pipelines
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --output=slurm-%j.log

set -euo pipefail

# shellcheck disable=SC1091
source .venv/bin/activate
RUN="${RUN:-runs/slurm-$SLURM_JOB_ID}"
MAIN="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)"
PORT="$((20000 + SLURM_JOB_ID % 10000))"
export RUN MAIN PORT
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-4}"

# One task a node; accelerate starts a process for each of its GPUs. In single quotes, since the rank is known there.
# shellcheck disable=SC2016
srun --kill-on-bad-exit=1 bash -c '
    exec accelerate launch \
        --config_file recipes/accelerate/ddp.yaml \
        --num_machines "$SLURM_NNODES" \
        --num_processes "$((SLURM_NNODES * SLURM_GPUS_ON_NODE))" \
        --machine_rank "$SLURM_NODEID" \
        --main_process_ip "$MAIN" \
        --main_process_port "$PORT" \
        recipes/sft_tinyllama.py --config recipes/configs/sft_tinyllama.yaml \
        --run_dir "$RUN" --resume_from_checkpoint true "$@"
' bash "$@"
