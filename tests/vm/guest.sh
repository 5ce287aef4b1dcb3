#!/bin/bash
# What the emulated machine does: runs its jobs and switches itself off. Argument: the directory that `cargo xtask vm` made.
# There lie `modules` (of this kernel), `variables`, and `jobs`: a name, a time limit in seconds and a command on each line.
guest=$1
mount -t sysfs sys /sys
mount -t tmpfs -o mode=755 run /run
mkdir -p /dev/shm /dev/pts /lib/modules
mount -t tmpfs shm /dev/shm
mount -t devpts devpts /dev/pts
mount -t bpf -o mode=0700 bpf /sys/fs/bpf
mount -t cgroup2 cgroup /sys/fs/cgroup
mount --bind "$guest/modules" /lib/modules
# A group of a test has the controllers that are handed down to it.
echo +memory >/sys/fs/cgroup/cgroup.subtree_control
ip link set lo up
set -a
. "$guest/variables"
set +a
cd "$DIRECTORY" || exit
while IFS=$'\t' read -r name limit command; do
    echo "JOB $name"
    timeout --kill-after=5 "$limit" bash -c "$command" </dev/null 2>&1
    echo "ENDED $name $?"
done <"$guest/jobs"
echo o >/proc/sysrq-trigger
sleep 60
