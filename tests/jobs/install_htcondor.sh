#!/usr/bin/env bash
# An HTCondor pool in its own Debian 13, for tests/jobs/test_htcondor.py --run-htcondor: Debian 12 has no HTCondor.
#
#   tests/jobs/install_htcondor.sh install DIR           the system in DIR (root, debootstrap, a network; 700 MiB)
#   tests/jobs/install_htcondor.sh run DIR FOLDER...     runs the pool in the foreground, with folders of this machine
#   tests/jobs/install_htcondor.sh stop DIR              stops it
#   tests/jobs/install_htcondor.sh inside DIR COMMAND... runs a command in the running pool, as its user `learner`
#
# The script writes nothing outside DIR. The pool has its own namespaces for mounts and processes.
set -euo pipefail
place=${2:?the folder of the system}
unset CONDOR_CONFIG # HTCondor's Python bindings set it where there is no HTCondor

install_pool() {
  if [ -x "$place/usr/bin/condor_submit" ]; then
    return
  fi
  if [ "$(id -u)" -ne 0 ]; then
    echo "making a system in a folder needs root" >&2
    return 1
  fi
  command -v debootstrap >/dev/null ||
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends debootstrap
  rm -rf --one-file-system "$place"
  mkdir -p "$place"
  debootstrap --variant=minbase trixie "$place"
  printf '#!/bin/sh\nexit 101\n' >"$place/usr/sbin/policy-rc.d" # no installation starts a service
  chmod +x "$place/usr/sbin/policy-rc.d"
  # The last seven are libraries that the mounted interpreter of the tests needs.
  chroot "$place" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
    htcondor libexpat1 libffi8 libsqlite3-0 zlib1g libbz2-1.0 liblzma5 libssl3t64
}

run_pool() {
  local folder
  mount --bind "$place" "$place"
  mount --rbind /dev "$place/dev"
  mount -t proc proc "$place/proc"
  for folder in "$@"; do
    mkdir -p "$place$folder"
    mount --bind -o ro "$folder" "$place$folder"
  done
  chmod 755 "$place/root" # it may contain an interpreter
  chroot "$place" id learner >/dev/null 2>&1 || chroot "$place" useradd --create-home learner
  cat >"$place/etc/condor/config.d/99-tests.config" <<'END'
CONDOR_HOST = 127.0.0.1
NETWORK_INTERFACE = 127.0.0.1
DAEMON_LIST = MASTER, COLLECTOR, NEGOTIATOR, SCHEDD, STARTD
use SECURITY : HOST_BASED
ALLOW_WRITE = *
ALLOW_DAEMON = *
SEC_DEFAULT_AUTHENTICATION = OPTIONAL
SEC_DEFAULT_ENCRYPTION = OPTIONAL
SEC_DEFAULT_INTEGRITY = OPTIONAL
START = True
PREEMPT = False
KILL = False
MAXJOBRETIREMENTTIME = 0
NUM_CPUS = 2
MEMORY = 8000
NEGOTIATOR_INTERVAL = 2
NEGOTIATOR_MIN_INTERVAL = 1
NEGOTIATOR_CYCLE_DELAY = 1
SCHEDD_INTERVAL = 2
SCHEDD_MIN_INTERVAL = 1
UPDATE_INTERVAL = 5
MOUNT_UNDER_SCRATCH =
END
  rm -rf "$place"/var/lib/condor/spool/* "$place"/var/lib/condor/execute/* "$place"/var/log/condor/*
  exec chroot "$place" condor_master -f
}

case $1 in
  install) install_pool ;;
  run)
    shift 2
    if pgrep -f -x 'condor_master -f' >/dev/null; then
      echo "a pool is running already: condor_master" >&2
      exit 1
    fi
    exec unshare --mount --pid --fork "$0" run-inside "$place" "$@"
    ;;
  stop) # this is the first process of its namespace, so the whole pool ends with it
    pkill -KILL -f -x 'condor_master -f' || true
    ;;
  run-inside)
    shift 2
    run_pool "$@"
    ;;
  inside)
    shift 2
    master=$(pgrep -f -x 'condor_master -f' | head -n 1)
    exec nsenter --target "$master" --mount --pid chroot "$place" runuser -u learner -- "$@"
    ;;
  *)
    sed -n '2,10p' "$0"
    exit 1
    ;;
esac
