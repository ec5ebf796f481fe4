#!/usr/bin/env bash
# A separate Slurm for the tests: a controller and two nodes on this machine, each with a simulated GPU.
#
#   tests/jobs/install_slurm.sh install      installs Slurm and MUNGE if they are missing (Debian, as root)
#   tests/jobs/install_slurm.sh start DIR    starts them; writes configuration, state, key and logs only in DIR
#   tests/jobs/install_slurm.sh stop DIR     stops what `start` has started
#
# It never changes another Slurm on the machine: the daemons and commands use SLURM_CONF=DIR/slurm.conf, their own ports
# (SLURM_TEST_PORT and the three after it) and their own MUNGE socket.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin

install_slurm() {
  if command -v slurmctld >/dev/null && command -v slurmd >/dev/null && command -v munged >/dev/null; then
    return
  fi
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "Slurm is not installed, and only root can install it, on Debian" >&2
    return 1
  fi
  export DEBIAN_FRONTEND=noninteractive
  # Do not start the distribution's own services: they ask policy-rc.d for permission. Keep an existing policy-rc.d.
  local policy=/usr/sbin/policy-rc.d own=
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod +x $policy
    own=yes
  fi
  local done=0
  { apt-get install -y -q --no-install-recommends slurm-wlm slurm-wlm-basic-plugins munge ||
    { apt-get update -q && apt-get install -y -q --no-install-recommends slurm-wlm slurm-wlm-basic-plugins munge; }; } ||
    done=$?
  [ -z "$own" ] || rm -f $policy
  return $done
}

start_slurm() {
  local place=$1 port=${SLURM_TEST_PORT:-17000} user host
  user=$(id -un)
  host=$(hostname -s)
  mkdir -p "$place"
  chmod 755 "$place"
  (umask 077 && head -c 128 /dev/urandom >"$place/munge.key")
  # cred_expire: a requeued job waits until its old credentials have expired.
  cat >"$place/slurm.conf" <<END
ClusterName=workshop-tests
SlurmctldHost=$host(127.0.0.1)
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$place/munge.socket,cred_expire=2
SlurmctldPort=$port
SlurmctldPidFile=$place/slurmctld.pid
SlurmctldLogFile=$place/slurmctld.log
SlurmdPidFile=$place/slurmd-%n.pid
SlurmdLogFile=$place/slurmd-%n.log
SlurmdSpoolDir=$place/spool-%n
StateSaveLocation=$place/state
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=2
KillWait=5
SchedulerParameters=batch_sched_delay=0,sched_interval=2,sched_min_interval=0,defer_batch
JobCompType=jobcomp/filetxt
JobCompLoc=$place/jobs.txt
GresTypes=gpu
NodeName=n[1-2] NodeHostname=$host NodeAddr=127.0.0.1 Port=[$((port + 1))-$((port + 2))] CPUs=2 RealMemory=8000 Gres=gpu:1
PartitionName=debug Nodes=n[1-2] Default=YES MaxTime=60 State=UP
END
  echo "NodeName=n[1-2] Name=gpu File=/dev/null" >"$place/gres.conf"
  echo "CgroupAutomount=no" >"$place/cgroup.conf"
  mkdir -p "$place/state" "$place/spool-n1" "$place/spool-n2"
  export SLURM_CONF=$place/slurm.conf
  # --force: others may write to the parent folder, and the key is only for these tests.
  munged --force --key-file="$place/munge.key" --socket="$place/munge.socket" --pid-file="$place/munged.pid" \
    --log-file="$place/munged.log" --seed-file="$place/munged.seed" 2>"$place/start.log"
  { slurmctld && slurmd -N n1 && slurmd -N n2; } 2>>"$place/start.log"
  local tries=0
  until [ "$(sinfo -h -N -t idle -o %N 2>/dev/null | sort -u | tr '\n' ' ')" = "n1 n2 " ]; do
    tries=$((tries + 1))
    if [ "$tries" -gt 150 ]; then
      echo "no two idle nodes after 30 s:" >&2
      tail -n 5 "$place"/*.log >&2
      return 1
    fi
    sleep 0.2
  done
}

stop_slurm() {
  local place=$1 name pid
  for name in slurmd-n1 slurmd-n2 slurmctld munged; do
    if pid=$(cat "$place/$name.pid" 2>/dev/null) && grep -q -a "${name%-n?}" "/proc/$pid/comm" 2>/dev/null; then
      kill "$pid" 2>/dev/null || true
      while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
    fi
  done
}

case ${1:-} in
  install) install_slurm ;;
  start) start_slurm "${2:?the folder}" ;;
  stop) stop_slurm "${2:?the folder}" ;;
  *)
    sed -n '2,9p' "$0"
    exit 1
    ;;
esac
