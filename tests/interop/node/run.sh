#!/usr/bin/env bash
# The Node client ali-ons against one broker.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
need node npm timeout
begin node

modules=$CACHE/node
if ! fresh "$modules/.built" "$INTEROP/node/package.json" "$INTEROP/node/package-lock.json"; then
    rm -rf "$modules" && mkdir -p "$modules"
    cp "$INTEROP"/node/package*.json "$modules"
    (cd "$modules" && npm ci --silent --no-audit --no-fund) >&2 || die "npm could not install ali-ons"
    touch "$modules/.built"
fi
cluster broker-a
NODE_PATH=$modules/node_modules client 300 node --max-old-space-size=512 "$INTEROP/node/client.js" "$NAMESRV" "${BROKER[broker-a]}"
