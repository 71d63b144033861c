#!/bin/sh
# Makes a virtual environment with this project in it, and does nothing when it is there already.
#
#     sh tools/venv.sh FOLDER [EXTRA [PYTHON]]
#
# EXTRA is nothing, `test` or `dev`. PYTHON defaults to the first Python >= 3.11 found. uv is used when it is on the
# PATH and works, never required. The stamp in FOLDER holds what was installed, from which folder: another
# pyproject.toml, or a project that was moved, is installed again.
set -eu

folder=$1
extra=${2:-}
wanted=${3:-}
stamp=$folder/.lash-installed
here=$(pwd -P)
key="$(cksum <pyproject.toml) $here"

say() { printf '%s\n' "$*" >&2; }

recent() { # is "$1" a Python that lash runs on?
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

find_python() { # prints the first usable one
    for name in $wanted python3.13 python3.12 python3.11 python3.14 python3 python; do
        if recent "$name"; then
            printf '%s\n' "$name"
            return
        fi
        [ -z "$wanted" ] || return 0
    done
}

installed() { # does the stamp say that FOLDER has all we want?
    [ -f "$stamp" ] && recent "$folder/bin/python" || return 1
    for more in "$extra" ${extra:+dev} ${extra:-test dev}; do
        [ "$(cat "$stamp")" = "$key $more" ] && return 0
    done
    return 1
}

make_venv() {
    python=$(find_python)
    if [ -n "$uv" ] && uv venv --quiet --clear --seed --python "${python:->=3.11}" "$folder"; then
        return
    fi
    if [ -z "$python" ]; then
        say "lash needs Python 3.11 or newer, and found none (looked for: ${wanted:-python3.13, python3.12, python3.11, python3.14, python3, python})."
        say "Install one from your system's packages or https://www.python.org/downloads/, or install uv, and run this again."
        exit 1
    fi
    if ! "$python" -m venv --clear "$folder"; then
        say "$python could not make a virtual environment in $folder."
        say "On Debian and Ubuntu the module is a package of its own: apt install python3-venv."
        exit 1
    fi
}

install() {
    what=".${extra:+[$extra]}"
    if [ -n "$uv" ] && uv pip install --quiet --python "$folder/bin/python" -e "$what"; then
        return
    fi
    "$folder/bin/python" -m pip install -qq --disable-pip-version-check -e "$what"
}

if installed; then
    exit 0
fi
uv=$(command -v uv || true)
say "Installing lash${extra:+ with its $extra tools} into $folder ..."
recent "$folder/bin/python" || make_venv
rm -f "$stamp"
install
printf '%s %s\n' "$key" "$extra" >"$stamp"
