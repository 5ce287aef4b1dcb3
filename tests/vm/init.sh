#!/bin/busybox sh
# First process of the emulated machine: the host's files, read-only, below a layer in memory that takes all writes.
# `cargo xtask vm` packs it with the modules that it needs, numbered in the order of their dependencies.
PATH=/bin
busybox mount -t proc proc /proc
# It finds itself below /proc.
busybox --install /bin
mount -t devtmpfs dev /dev
for module in /modules/*; do insmod "$module"; done
mount -t 9p -o trans=virtio,version=9p2000.L,msize=524288,cache=loose,ro host /host
mount -t tmpfs -o size=75% memory /memory
mkdir /memory/upper /memory/work
mount -t overlay -o lowerdir=/host,upperdir=/memory/upper,workdir=/memory/work overlay /new
mount --move /dev /new/dev
mount --move /proc /new/proc
# The files it needs are named on the kernel's command line, since only the host knows where they lie.
for word in $(cat /new/proc/cmdline); do
    case $word in guest=*) guest=${word#guest=} ;; esac
done
exec switch_root /new /bin/bash "$guest/guest.sh" "$guest"
