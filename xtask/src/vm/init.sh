#!/bin/sh
# The first process of a test machine: makes the places that a tracer expects, loads the modules, runs /command, tells its verdict.
export PATH=/bin HOME=/tmp TERM=linux
# Here the live tests may do what they would not do to a machine that people use.
export KEEPALIVE_TRACE_LAB=1
/bin/busybox --install -s /bin 2>/dev/null

mkdir -p /proc /sys /dev /tmp /run /etc
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev 2>/dev/null
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t debugfs debugfs /sys/kernel/debug
mount -t tracefs tracefs /sys/kernel/tracing
mount -t securityfs securityfs /sys/kernel/security 2>/dev/null
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
# Recordings and reports name their host.
echo vm >/proc/sys/kernel/hostname

# A module that fails ends the run: the command would fail later, and could not say why.
load() {
    while read -r module; do
        said=$(insmod "/lib/modules/$module" 2>&1) && continue
        echo "error: the guest's kernel does not take the module $module: $said"
        return 1
    done </lib/modules/order
}

echo 'keepalive-trace-vm: start'
load && /command </dev/null
echo "keepalive-trace-vm: exit $?"

# The runner ends the machine at the verdict; this is for when it is gone. The pause lets the console drain.
sleep 1
reboot -f
