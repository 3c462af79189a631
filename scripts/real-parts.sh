#!/bin/sh
# Say which of the programs that `make test-real` needs are missing, and how to install them.
set -eu

missing=""
for program in kcat docker-compose prometheus; do
    command -v "$program" > /dev/null 2>&1 || missing="$missing $program"
done
[ -z "$missing" ] || {
    echo "test-real:$missing missing: \`apt-get install --no-install-recommends$missing\` (Debian), then again" >&2
    exit 78
}
