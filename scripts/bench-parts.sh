#!/bin/sh
# Bring what `make bench-lake` compares with and pip does not have: VictoriaMetrics, built by Go into .setup/bin.
set -eu
cd "${0%/*}/.."

version=v1.150.0
command -v go > /dev/null 2>&1 || { echo "bench-parts: Go is missing: install it (1.26 or newer), then again" >&2; exit 78; }
mkdir -p .setup/bin
echo "bench-parts: building VictoriaMetrics $version, two minutes and more"
GOBIN="$PWD/.setup/bin" exec go install "github.com/VictoriaMetrics/VictoriaMetrics/app/victoria-metrics@$version"
