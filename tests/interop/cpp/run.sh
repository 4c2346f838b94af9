#!/usr/bin/env bash
# Apache's C++ client, in its Python binding (the wheel brings the library), against one broker.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
need python3 timeout
python3 -c 'import ensurepip, venv' 2>/dev/null || { echo "skipped: python3-venv is missing"; exit 77; }
begin cpp

venv=$CACHE/python
if ! fresh "$venv/.built" "$INTEROP/cpp/requirements.txt"; then
    rm -rf "$venv"
    python3 -m venv "$venv" >&2 || die "python3 cannot make a virtual environment"
    "$venv/bin/pip" install -q --disable-pip-version-check -r "$INTEROP/cpp/requirements.txt" >&2 || die "pip could not install the binding"
    touch "$venv/.built"
fi
cluster broker-a
client 300 "$venv/bin/python" "$INTEROP/cpp/client.py" "$SERVER" "$NAMESRV" "${BROKER[broker-a]}"
