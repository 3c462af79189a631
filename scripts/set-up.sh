#!/bin/sh
# Check what must be there beforehand (git, make, a Python with venv), then set everything else up.
# `set-up.sh --dev` adds what tests and lint need. PYTHON=/path/to/python chooses the Python.
set -eu
cd "${0%/*}/.."

refuse() {
    echo "set-up: $1" >&2
    exit 78
}

for program in git make; do
    command -v "$program" > /dev/null 2>&1 ||
        refuse "$program is missing: install it (Debian: \`apt-get install $program\`, macOS: \`xcode-select --install\`)"
done

is_supported='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'
seen=""
for python in ${PYTHON:-python3 python3.13 python3.12 python3.11 python}; do
    command -v "$python" > /dev/null 2>&1 || continue
    if "$python" -c "$is_supported" 2> /dev/null; then
        "$python" -c 'import venv, ensurepip' 2> /dev/null && exec "$python" scripts/set_up.py "$@"
        seen="$seen, $("$python" -V 2>&1) without venv"
    else
        seen="$seen, $("$python" -V 2>&1 | tail -n 1)"
    fi
done
case ${seen:=, none} in
*venv*) refuse "Python has no venv (found: ${seen#, }): Debian: \`apt-get install python3-venv\`, or name another with PYTHON=" ;;
*) refuse "Python 3.11, 3.12 or 3.13 is missing (found: ${seen#, }): Debian: \`apt-get install python3 python3-venv\`, or name one with PYTHON=" ;;
esac
