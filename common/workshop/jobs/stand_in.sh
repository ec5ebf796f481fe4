#!/bin/sh
# Copied under the name of each command that a rehearsed job script may call (rehearsal.py); passes the call on.
exec "$REHEARSAL_PYTHON" -S -E "$REHEARSAL_STAND_IN" "${0##*/}" "$@"
