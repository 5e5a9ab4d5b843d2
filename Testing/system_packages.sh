#!/usr/bin/env bash
# Makes sure of what Qt, VTK, the browser, and the tests of the build and of DICOM need from the system. Where it
# runs as root on Debian or Ubuntu it installs what is missing, elsewhere it says what to type.
set -euo pipefail

if ! command -v ldconfig > /dev/null; then
  exit 0 # not Linux: Qt and VTK bring what they need
fi
libraries=$(ldconfig -p)
missing=()

need_library() { grep -q "$1" <<< "$libraries" || missing+=("$2"); }
need_command() { command -v "$1" > /dev/null || missing+=("$2"); }

need_library libEGL.so.1 libegl1
need_library libGL.so.1 libgl1
need_library libglib-2.0.so.0 libglib2.0-0
need_library libxkbcommon.so.0 libxkbcommon0
need_library libdbus-1.so.3 libdbus-1-3
need_library libfontconfig.so.1 libfontconfig1
need_command chromium chromium
need_command cmake cmake
need_command c++ g++
need_command dciodvfy dicom3tools

if [ ${#missing[@]} -eq 0 ]; then
  exit 0
fi
if [ "$(id -u)" -eq 0 ] && command -v apt-get > /dev/null; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
else
  echo "The tests need some system packages: sudo apt-get install ${missing[*]}" >&2
  exit 2
fi
