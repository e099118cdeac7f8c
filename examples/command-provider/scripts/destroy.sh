#!/bin/sh
# destroy.sh SANDBOX
case $1 in */example-sandbox-*) rm -rf -- "$1" ;; esac
