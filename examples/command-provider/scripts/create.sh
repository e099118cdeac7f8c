#!/bin/sh
# create.sh IMAGE: prints the id of a new sandbox.
set -e
sandbox=$(mktemp -d "${TMPDIR:-/tmp}/example-sandbox-XXXXXX")
tar -xf "$1" -C "$sandbox"
echo "$sandbox"
