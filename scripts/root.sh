# Sourced by the other scripts: may packages of the distribution be installed, and how.
#   CAN_INSTALL=yes|no, install_packages NAME...
CAN_INSTALL=no
AS_ROOT=
if command -v apt-get >/dev/null; then
    if [ "$(id -u)" = 0 ]; then
        CAN_INSTALL=yes
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        CAN_INSTALL=yes
        AS_ROOT="sudo -n"
    fi
fi

refresh_packages() {
    [ -n "${REFRESHED:-}" ] || $AS_ROOT apt-get update -qq
    REFRESHED=yes
}

install_packages() {
    refresh_packages
    $AS_ROOT env DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends "$@" >/dev/null
}
