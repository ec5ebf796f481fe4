#!/usr/bin/env bash
# A Debian 13 with HTCondor in the folder named, for tests/test_htcondor.py --run-htcondor: Debian 12 has no HTCondor.
# As root, with debootstrap and a network; two minutes and 700 MiB. Nothing outside the folder is changed.
set -euo pipefail
place=${1:?the folder for the system, as in: tests/install_htcondor.sh DIR}
if [ -x "$place/usr/bin/condor_submit" ]; then
  exit 0
fi
if [ "$(id -u)" -ne 0 ]; then
  echo "making a system in a folder needs root" >&2
  exit 1
fi
command -v debootstrap >/dev/null || DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends debootstrap
rm -rf --one-file-system "$place"
mkdir -p "$place"
debootstrap --variant=minbase trixie "$place"
printf '#!/bin/sh\nexit 101\n' >"$place/usr/sbin/policy-rc.d" # no service is started by its installation
chmod +x "$place/usr/sbin/policy-rc.d"
# libexpat1 and the others: what the interpreter of the tests, which is bound into the folder, asks of its system.
chroot "$place" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
  htcondor procps libexpat1 libffi8 libsqlite3-0 zlib1g libbz2-1.0 liblzma5 libssl3t64
