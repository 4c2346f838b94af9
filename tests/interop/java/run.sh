#!/usr/bin/env bash
# Apache's Java client, 5.5.0 and 4.9.8, with JSON and with binary headers, against two brokers.
# Arguments: names of checks (default all, see src/rmq/interop/Clients.java).
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
need java javac mvn timeout
begin java

# All four at once: they mostly wait.
cluster broker-a broker-b
for version in 5.5.0 4.9.8; do
    path=$(classpath $version) || die "Maven could not fetch the client $version"
    javac_into "$CACHE/java-$version" "$path" "$INTEROP"/java/src/rmq/interop/*.java || die "javac failed for $version"
    jvm "$CACHE/java-$version:$path"
    for header in JSON ROCKETMQ; do
        begin_client 300 "${JAVA[@]}" -Drocketmq.serialize.type=$header rmq.interop.Clients "$NAMESRV" "$version-$header-" none "$@"
    done
done
end_clients

# One at a time: the check kills a broker.
[ $# -eq 0 ] || exit 0
for version in 5.5.0 4.9.8; do
    jvm "$CACHE/java-$version:$(classpath $version)"
    for header in JSON ROCKETMQ; do
        client 120 "${JAVA[@]}" -Drocketmq.serialize.type=$header \
            rmq.interop.Clients "$NAMESRV" "$version-$header-" "${PIDS[broker-b]}"
        stop broker-b
        start_broker "$SERVER" broker-b "$WORK/store/broker-b" "${BROKER[broker-b]##*:}"
        await_broker "$SERVER" broker-b
    done
done
