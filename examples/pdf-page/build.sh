#!/bin/sh
# Makes the image as an OCI layout, without Docker and without root. Needs Debian's mmdebstrap, umoci and python3-pip.
#
#   build.sh [DIRECTORY [MIRROR]]     default: image/ beside this file, and Debian's own mirror
#
# Debian's packages are a layer of their own, which is kept: only the function is packed again.
set -eu

here="$(cd "$(dirname "$0")" && pwd)"
image="${1:-$here/image}"
mirror="${2:-}"
release=bookworm
python=3.11

scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
# Files of the image are read by the function, which is another user.
umask 022

if ! [ -e "$image/index.json" ]; then
  # Packages are only extracted, and no script of theirs is run: that is what root is asked about otherwise.
  mmdebstrap --quiet --mode=chrootless --skip=check/chrootless --variant=extract \
    --include=python3,poppler-utils,fonts-urw-base35 \
    --customize-hook='cd "$1"/usr/share && rm -rf doc man locale info lintian perl5' \
    "$release" "$scratch/base.tar" ${mirror:+"$mirror"}
  umoci init --layout "$scratch/image"
  umoci new --image "$scratch/image:base"
  umoci raw add-layer --image "$scratch/image:base" "$scratch/base.tar"
  mkdir -p "$(dirname "$image")"
  mv -T "$scratch/image" "$image"
fi

task="$scratch/root/var/task"
mkdir -p "$task"
pip3 install --quiet --no-compile --target "$task" --only-binary :all: --python-version "$python" \
  --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 -r "$here/requirements.txt"
cp "$here/app.py" "$task"
tar -C "$scratch/root" --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -cf "$scratch/task.tar" var
umoci raw add-layer --image "$image:base" --tag latest "$scratch/task.tar"
umoci config --image "$image:latest" --config.workingdir /var/task --config.cmd app.handler \
  --config.entrypoint /usr/bin/python3 --config.entrypoint -m --config.entrypoint awslambdaric \
  --config.env PATH=/usr/bin:/bin --config.env XDG_CACHE_HOME=/tmp
# What builds before have left; and whoever runs snapctr reads the rest.
umoci gc --layout "$image"
chmod -R a+rX "$image"
