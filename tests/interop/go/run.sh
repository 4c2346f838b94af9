#!/usr/bin/env bash
# Apache's Go client v2 against one broker.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
need go timeout
begin go

(cd "$INTEROP/go" && go build -o "$CACHE/go-client" .) || die "go build failed"
cluster broker-a
client 300 "$CACHE/go-client" "$NAMESRV" "${BROKER[broker-a]}"
