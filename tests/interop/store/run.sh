#!/usr/bin/env bash
# Stores move between rmq and Apache RocketMQ 5.5.0, after a clean stop and after kill -9, and each one's broker registers with the
# other's name server.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
need java javac mvn timeout
begin store

path=$(classpath $APACHE_VERSION) || die "Maven could not fetch the client"
javac_into "$CACHE/store" "$path" "$INTEROP"/java/src/rmq/interop/{Checks,Cluster,Inbox}.java "$INTEROP"/store/src/rmq/interop/*.java ||
    die "javac failed"
jvm "$CACHE/store:$path"

# File sizes are a broker's configuration: both must agree on them.
sizes=(mappedFileSizeCommitLog=67108864 maxIndexNum=100000 maxHashSlotNum=20000)

# broker KIND STORE: always on the same port, since message ids name it.
broker() {
    start_broker "$1" broker-a "$2" "$port" "${sizes[@]}"
    await_broker "$1" broker-a
}
moved() { client 240 "${JAVA[@]}" rmq.interop.Moved "$@"; }

# from_to WRITER READER: the name server is of the writer's kind.
from_to() {
    local writer=$1 reader=$2 stores=$WORK/$1-$2
    mkdir -p "$stores"
    start_namesrv "$writer"
    await_namesrv "$writer"
    free_ports
    port=$PORT

    broker "$writer" "$stores/1"
    moved write "$NAMESRV" "store-of-$writer-" "$stores/written"
    stop broker-a
    until_unregistered "$writer" "$writer"

    cp -r "$stores/1" "$stores/2"
    broker "$reader" "$stores/2"
    echo "pass store-$reader-broker-registers-with-$writer-name-server"
    moved verify "$NAMESRV" "store-of-$writer-in-$reader-" "$stores/written"
    moved kill "$NAMESRV" "store-of-$reader-" "$stores/acknowledged" "${PIDS[broker-a]}"
    stop broker-a KILL

    cp -r "$stores/2" "$stores/3"
    broker "$writer" "$stores/3"
    moved verify-acknowledged "$NAMESRV" "killed-store-of-$reader-in-$writer-" "$stores/acknowledged"
    stop broker-a KILL

    # Once more the reader's kind, stopped cleanly this time.
    broker "$reader" "$stores/2"
    stop broker-a
    until_unregistered "$reader" "$writer"
    stop namesrv
}

until_unregistered() { # KIND-OF-BROKER KIND-OF-NAME-SERVER
    local tenths=100
    while cluster_info | grep -qF '"broker-a"'; do
        ((tenths-- > 0)) || { echo "FAIL store-$1-broker-unregisters-from-$2-name-server: still there after 10 s"; return; }
        sleep 0.1
    done
    echo "pass store-$1-broker-unregisters-from-$2-name-server"
}

from_to "$SERVER" apache
[ "$SERVER" = apache ] || from_to apache "$SERVER"
