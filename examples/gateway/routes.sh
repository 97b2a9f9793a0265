#!/bin/sh
# Sends packets that gateway.nft has marked to this machine itself, whoever they are for; run as root, again as often as
# you like. Undone by a restart, or by "sh routes.sh undo".
set -eu

MARK=1
TABLE=100

for family in -4 -6; do
    while ip $family rule del fwmark $MARK lookup $TABLE 2>/dev/null; do :; done
    ip $family route flush table $TABLE 2>/dev/null || true
    [ "${1:-}" = undo ] && continue
    ip $family rule add fwmark $MARK lookup $TABLE
    ip $family route add local default dev lo table $TABLE
done
[ "${1:-}" = undo ] && exit 0

# A gateway forwards. Answers come to addresses that are not this machine's: the way back is checked loosely.
sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
sysctl -q -w net.ipv4.conf.all.rp_filter=2 net.ipv4.conf.default.rp_filter=2
