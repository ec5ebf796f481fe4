#!/usr/bin/env bash
# Install the programs that the tests of the image need: buildah, podman and debootstrap (on Debian, as root). If they
# are installed already, do nothing and print nothing. If they cannot be installed, print the reason in one line, and
# end with exit code 1.
set -euo pipefail

wanted=(buildah podman skopeo crun runc conmon netavark debootstrap)
missing=()
for name in buildah podman skopeo crun runc debootstrap; do
  [ -n "$(PATH=$PATH:/usr/sbin:/sbin command -v "$name")" ] || missing+=("$name")
done
[ ${#missing[@]} -eq 0 ] && exit 0

why() { echo "no container tools here: $1" >&2; exit 1; }
command -v apt-get > /dev/null || why "this is not Debian (no apt-get)"
[ "$(id -u)" -eq 0 ] || why "installing ${missing[*]} needs root"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
{ apt-get update && apt-get install -y --no-install-recommends "${wanted[@]}"; } > "$log" 2>&1 \
  || why "apt-get: $(grep -m1 '^E:' "$log" || tail -1 "$log")"
