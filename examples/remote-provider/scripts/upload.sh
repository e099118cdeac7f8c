#!/bin/sh
# Takes the project to where the tests will run.
set -e
mkdir -p "$ELSEWHERE"
cp -R tests pytest.ini "$ELSEWHERE"
echo "uploaded to $ELSEWHERE"
