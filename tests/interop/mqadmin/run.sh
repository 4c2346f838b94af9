#!/usr/bin/env bash
# Apache's mqadmin 5.5.0 against one broker: what its commands print, compared with expected.txt.
# "record" as the argument, with Apache's servers, writes expected.txt.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
need java javac mvn timeout
begin mqadmin

path=$(classpath $APACHE_VERSION) || die "Maven could not fetch mqadmin"
javac_into "$CACHE/mqadmin" "$path" "$INTEROP"/java/src/rmq/interop/{Checks,Cluster,Inbox}.java "$INTEROP"/mqadmin/src/rmq/interop/*.java ||
    die "javac failed"
cluster broker-a
jvm "$CACHE/mqadmin:$path"
client 300 "${JAVA[@]}" -Drocketmq.home.dir="$WORK/home" rmq.interop.Admin "$NAMESRV" "${BROKER[broker-a]}" "$INTEROP/mqadmin/expected.txt" "$@"
