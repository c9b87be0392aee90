#!/bin/sh
# The first process of a guest: mounts what tests need, runs them, and says how each ended.
/bin/busybox --install -s /bin
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/ RUST_BACKTRACE=0
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
mount -t bpf bpf /sys/fs/bpf
# Messages of the kernel would come between the lines of the tests.
echo 1 > /proc/sys/kernel/printk
while read -r module; do
    insmod "/modules/$module.ko" || echo "@trouble module $module"
done < /modules/order
ip link set lo up
echo "@kernel $(uname -r)"
export REDIRECTOR_BPF_OBJECT=/tests/redirector.o REDIRECTOR_BIN=/tests/redirector
export REDIRECTOR_TEST_FRAMES=20000
for tests in $(sed 's/.*tests=//; s/,/ /g' /proc/cmdline); do
    echo "@begin $tests"
    "/tests/$tests" --test-threads=1 --nocapture 2>&1
    echo "@end $tests $?"
done
echo "@over"
poweroff -f
