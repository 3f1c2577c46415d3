# SPDX-License-Identifier: GPL-2.0-or-later
# Shared by the scripts beside it: what a run needs, asked before anything is started.
# Sourced, not run. Every failed need is one line that names the cure.

root_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

packages_build="gcc libc6-dev cmake ninja-build pkg-config libfuse3-dev fuse3 liburing-dev
    libisal-dev libxxhash-dev"
packages_test="check libsubunit-dev mdadm zstd sqlite3 git attr acl python3 util-linux fio spin"
packages_lint="clang-format clang-tidy cppcheck"

fail() {
    printf 'r5fs: %s\n' "$*" >&2
    exit 1
}

missing_packages() { # PACKAGE...
    local package
    for package in "$@"; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q '^install ok installed' ||
            printf '%s ' "$package"
    done
}

# Installs what is missing; without root or sudo it says the one command that somebody else must run.
install_packages() { # PACKAGE...
    local missing
    missing=$(missing_packages "$@")
    [ -n "$missing" ] || return 0
    local as_root=
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null && sudo -n true 2>/dev/null && as_root=sudo ||
            fail "packages are missing and this user cannot install them (run as root: apt-get install $missing)"
    fi
    printf 'installing: %s\n' "$missing"
    export DEBIAN_FRONTEND=noninteractive
    $as_root apt-get update -qq || fail "apt-get update failed (check the network and /etc/apt/sources.list)"
    # shellcheck disable=SC2086
    $as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null ||
        fail "apt-get install failed (run it by hand to see why: apt-get install $missing)"
}

# One line for each thing a mount needs and this machine lacks.
check_mount_needs() {
    local ok=0
    if [ ! -e /dev/fuse ]; then
        echo "r5fs: /dev/fuse: not there (as root: modprobe fuse; in a container: --device /dev/fuse)" >&2
        ok=1
    elif ! { : <>/dev/fuse; } 2>/dev/null; then
        echo "r5fs: /dev/fuse: this user may not open it (as root: chmod 666 /dev/fuse)" >&2
        ok=1
    fi
    if ! command -v fusermount3 >/dev/null; then
        echo "r5fs: fusermount3: not installed (apt-get install fuse3)" >&2
        ok=1
    elif [ "$(id -u)" -ne 0 ] && [ ! -u "$(readlink -f "$(command -v fusermount3)")" ]; then
        echo "r5fs: fusermount3: not set-user-id, so a user cannot mount (as root: chmod u+s $(command -v fusermount3))" >&2
        ok=1
    fi
    if [ "$(cat /proc/sys/kernel/io_uring_disabled 2>/dev/null || echo 0)" = 2 ]; then
        echo "r5fs: io_uring is switched off here, threads will do the I/O (as root: sysctl kernel.io_uring_disabled=0)" >&2
    fi
    return $ok
}

configure_and_build() { # PRESET [TARGET...]
    local preset=$1
    shift
    cmake --preset "$preset" -S "$root_dir" >"$root_dir/build-$preset.log" 2>&1 || {
        cat "$root_dir/build-$preset.log" >&2
        fail "configure failed for preset $preset"
    }
    rm -f "$root_dir/build-$preset.log"
    cmake --build "$root_dir/build/$preset" -- "$@" || fail "build failed for preset $preset"
}
