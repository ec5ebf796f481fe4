#!/bin/sh
# rehearsal.py copies this file under the name of each command that a job script may call; it calls stand_in.py.
exec "$REHEARSAL_PYTHON" -S -E "$REHEARSAL_STAND_IN" "${0##*/}" "$@"
