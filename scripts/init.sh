#!/bin/sh
# The first process of the container: runs the Functions host, and turns SIGTERM into SIGINT.
#
# Microsoft's host serves on after SIGTERM, which Docker and Azure send to stop a container: it would cut off calls when the
# grace period ends. At SIGINT it finishes in about a second. The exit code is the host's.
stopping=""
signalled=""
host=""
trap 'stopping=1; signalled=1; [ -z "$host" ] || kill -INT "$host" 2>/dev/null' TERM INT

# A shell without job control starts background processes with SIGINT ignored, and .NET then ignores it, too.
env --default-signal=INT "$@" &
host=$!
[ -z "$stopping" ] || kill -INT "$host"

while :; do
  signalled=""
  wait "$host"
  status=$?
  # A signal interrupts wait, with a status over 128, while the host still runs.
  if [ "$status" -le 128 ] || [ -z "$signalled" ]; then
    exit "$status"
  fi
done
