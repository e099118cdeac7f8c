#!/bin/sh
# download.sh SANDBOX REMOTE:LOCAL...: copies files out of the sandbox.
set -e
sandbox=$1
shift
for pair in "$@"; do
  mkdir -p -- "$(dirname -- "${pair#*:}")"
  cp -R -- "$sandbox/${pair%%:*}" "${pair#*:}"
done
