#!/usr/bin/env bash
# See that the programs for `make $1` (test or lint) are on this machine: on Debian and Ubuntu as root they are installed,
# elsewhere it is said what is missing.
set -euo pipefail

has() { command -v "$1" >/dev/null 2>&1; }
has_postgres() { compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || { has initdb && has postgres; }; }
has_chromium() { has chromium || has chromium-browser || has google-chrome; }
has_redis() { has redis-server || has valkey-server; }
has_korean() { has fc-list && [ -n "$(fc-list :lang=ko family 2>/dev/null)" ]; }

packages=() missing=()
need() { # check, Debian package, what it is
    if ! "$1"; then packages+=("$2") missing+=("$3"); fi
}
has_curl() { has curl; }
has_gettext() { has xgettext && has msgfmt; }

case "$1" in
test)
    need has_postgres postgresql "PostgreSQL 15 or newer (initdb, postgres)"
    need has_redis redis-server "Redis or Valkey (redis-server)"
    need has_chromium chromium "Chromium"
    need has_curl curl "curl"
    need has_korean fonts-noto-cjk "a font with Korean (Noto CJK)"
    ;;
lint) need has_gettext gettext "GNU gettext (xgettext, msgfmt)" ;;
esac
[ ${#packages[@]} -gt 0 ] || exit 0

if [ "$(id -u)" = 0 ] && has apt-get; then
    echo "Installing ${packages[*]} …"
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "${packages[@]}" fontconfig; } >/dev/null
else
    echo "Missing for \`make $1\`:" >&2
    printf '  - %s\n' "${missing[@]}" >&2
    if has apt-get; then echo "Install with: sudo apt-get install ${packages[*]}" >&2; fi
    exit 1
fi
