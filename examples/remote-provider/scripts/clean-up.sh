#!/bin/sh
rm -rf -- "$ELSEWHERE"
