#!/bin/sh
# exec.sh SANDBOX COMMAND: runs the command line there. It has our stdin, so that runner's agent can be used.
cd "$1" && exec sh -c "$2"
