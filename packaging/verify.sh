#!/bin/bash
# The life of the package on a clean Debian: install, enforce, break, upgrade, remove, purge, with a client that tries port 25.
# `cargo xtask package --verify` runs it in namespaces, under a systemd of its own; never run it on a machine that is in use.
# Arguments: the package, and a later version of it.
set -u

new=$1 later=$2
pins=/sys/fs/bpf/smtpfence
policy=/etc/smtpfence/policy.yaml

step() { echo "── $*"; }
fail() {
    echo "FAILED: $*"
    journalctl --no-pager --output=cat -u 'smtpfence*' 2>/dev/null | tail -30
    exit 1
}
must() { "$@" || fail "$*"; }
must_not() { ! "$@" || fail "not expected: $*"; }
# Whether the client reaches a port outside.
reaches() { ip netns exec client timeout 5 bash -c "exec 3<>/dev/tcp/203.0.113.25/$1" 2>/dev/null; }
closed() { must_not reaches 25; must reaches 587; }
active() { [ "$(systemctl is-active smtpfence)" = active ]; }
within() { # seconds, command
    local end=$((SECONDS + $1)); shift
    until "$@"; do [ $SECONDS -lt $end ] || fail "not in time: $*"; sleep 0.2; done
}
agent() { systemctl show --property MainPID --value smtpfence; }
logged() { [ -n "$(smtpfence log --format json)" ]; }
# A new process that has adopted what was there.
adopted() { active && [ "$(agent)" != "$1" ] && [ "$(agent)" != 0 ]; }

step network
must ip link set lo up
for pair in client:lan0:192.168.1 internet:wan0:203.0.113; do
    IFS=: read -r name port net <<<"$pair"
    must ip netns add "$name"
    must ip link add "$port" type veth peer name eth0 netns "$name"
    must ip addr add "$net.1/24" dev "$port"
    must ip link set "$port" up
    must ip -n "$name" link set eth0 up
    must ip -n "$name" link set lo up
done
must ip -n client addr add 192.168.1.77/24 dev eth0
must ip -n client route add default via 192.168.1.1
must ip -n internet addr add 203.0.113.25/24 dev eth0
must ip -n internet route add default via 203.0.113.1
echo 1 >/proc/sys/net/ipv4/ip_forward
for port in 25 587; do
    ip netns exec internet systemd-socket-activate --listen "203.0.113.25:$port" --accept --inetd /bin/true >/dev/null 2>&1 &
done
within 20 reaches 25

step "install: nothing runs, nothing is in force"
must dpkg --install "$new"
must_not active
must_not systemctl --quiet is-enabled smtpfence
must_not test -e "$pins"
must smtpfence version
must smtpfence check "$policy"
smtpfence doctor >/dev/null
[ $? = 1 ] || fail "doctor finds nothing wrong where nothing is in force"
must test -e /usr/share/man/man8/smtpfence-run.8.gz
must test "$(stat -c '%a %U %G' "$policy")" = "640 root smtpfence"
must reaches 25

step "enforce: the hardened service starts, and port 25 closes"
must sed -i 's/^mode: audit/mode: enforce/' "$policy"
must systemctl enable --now smtpfence-early smtpfence
must active
closed
smtpfence doctor || fail doctor
must grep -q "^CapBnd:.*000000c000001000" "/proc/$(agent)/status"
must grep -q "^Seccomp:.*2" "/proc/$(agent)/status"
smtpfence status | grep "cap_net_admin, cap_perfmon, cap_bpf in 1 of .* filtered$" || fail "$(smtpfence status)"
must runuser -u nobody -g smtpfence -- smtpfence status --format json >/dev/null
must_not runuser -u nobody -g nogroup -- smtpfence reload
within 10 logged
must test "$(stat -c %G /var/lib/smtpfence/attempts)" = smtpfence

step "kill -9: the kernel goes on, systemd starts the next agent"
before=$(agent)
kill -9 "$before"
closed
within 20 adopted "$before"

step "a bad policy: reload says why; a restart and a boot put the last good one in force"
must systemctl reload smtpfence
cp -p "$policy" /srv/good
echo "mood: x" >>"$policy"
must_not systemctl reload smtpfence
closed
must systemctl restart smtpfence
smtpfence status | grep REFUSED >/dev/null || fail "status does not tell of the refused file"
closed
systemctl stop smtpfence smtpfence-early
rm -r "$pins"
# The kernel lets go of a hook some milliseconds after its pin is gone.
within 10 reaches 25
must systemctl start smtpfence-early
closed
must_not active
cp -p /srv/good "$policy"
must systemctl start smtpfence

step "upgrade and downgrade: not one connection in between"
tries() { while :; do reaches 25 && echo open >>/srv/leaks; done; }
tries &
trying=$!
for package in "$later" "$new" "$later"; do
    before=$(agent)
    must dpkg --force-downgrade --install "$package" 2>&1
    within 20 adopted "$before"
done
kill $trying
must_not test -e /srv/leaks
closed

step "remove: enforcement goes on and is told; purge ends it"
told=$(dpkg --remove smtpfence 2>&1) || fail "$told"
echo "$told"
[[ $told == *"GOES ON ENFORCING"* ]] || fail "the removal does not say what goes on"
must_not reaches 25
must_not test -e /usr/sbin/smtpfence
must test -e "$policy"
must dpkg --purge smtpfence
within 10 reaches 25
for path in /etc/smtpfence /var/lib/smtpfence "$pins"; do must_not test -e "$path"; done
echo VERIFIED
