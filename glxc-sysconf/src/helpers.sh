# Functions for the scripts of profiles. Sourced by bash before each script, and by old profiles themselves.

# Ends the whole script, also from within a pipe or a subshell, of which a plain `exit` would only end that part.
_sysconf_end() {
    [ "${BASHPID:-$$}" = "$$" ] || [ -z "$_sysconf_script" ] || kill -s USR1 "$$"
    exit 1
}

# usage: nef_log [-v] [-d] [-p PREFIX] TEXT...   (`nef_log -` logs the lines of its input)
nef_log() {
    local prefix="${NEF_LOG_PREFIX:+$NEF_LOG_PREFIX: }" quiet=no
    while :; do
        case "$1" in
            -) shift; nef_log_pipe "$@"; return ;;
            -v|--verbose) [ "$nef_opt_show_verbose" = no ] && quiet=yes; shift ;;
            -d|--debug) [ "$nef_opt_show_debug" = yes ] || quiet=yes; shift ;;
            -p|--prepend) prefix="$prefix$2"; shift; shift ;;
            *) break ;;
        esac
    done
    [ "$quiet" = yes ] || printf '%s%s\n' "$prefix" "$*" >&2
}

# usage: COMMAND | nef_log_pipe [--stdout] [TEXT...]
nef_log_pipe() {
    local both=no line
    [ "$1" = --stdout ] && { both=yes; shift; }
    while IFS= read -r line || [ -n "$line" ]; do
        nef_log "$@" "$line"
        [ "$both" = yes ] && printf '%s\n' "$line"
    done
    return 0
}

# usage: nef_fatal TEXT...
nef_fatal() {
    nef_log "FATAL ERROR: $*"
    _sysconf_end
}

# usage: nef_cmd [--log-prefix TEXT] [--stdname] [--print] [--] COMMAND...   (fatal where the command fails)
nef_cmd() {
    local prefix="" print=no status
    while :; do
        case "$1" in
            --log-prefix) prefix="$2"; shift; shift ;;
            --stdname) shift ;;
            --print) print=yes; shift ;;
            --) shift; break ;;
            *) break ;;
        esac
    done
    [ "$print" = yes ] && nef_log "Running: $*"
    { "$@" 2>&1 1>&3 3>&- | nef_log_pipe "${prefix:-$1}:"; status=${PIPESTATUS[0]}; } 3>&1
    [ "$status" -eq 0 ] || nef_fatal "command failed with status $status: $*"
}

# usage: nef_confirm QUESTION && COMMAND   (there is nobody to ask: no)
nef_confirm() {
    nef_log "$1 [y/n] ? no, nobody can be asked"
    return 1
}

# usage: nef_hook_run NAME_OF_ARRAY [ARGUMENT...]
nef_hook_run() {
    local _hooks="$1[@]" _hook
    shift
    for _hook in "${!_hooks}"; do
        $_hook "$@"
    done
}

# usage: folder=$(nef_create_temp_dir)
nef_create_temp_dir() {
    mktemp -d /tmp/nef.XXXXXXXXXX
}

# usage: nef_template_apply_file FILE   (prints it with its variables and commands replaced)
nef_template_apply_file() {
    local text
    text="$(cat "$1")" || return
    eval "printf '%s\\n' \"${text//\"/\\\"}\""
}

# Refreshes the package lists. A mirror or the network of a container just started may need a moment.
# Runs a talkative command. What it says is only shown where it fails.
_sysconf_quietly() {
    local said status
    said=$(mktemp) || return
    "$@" >"$said" 2>&1
    status=$?
    [ "$status" -eq 0 ] || tail -n 60 "$said"
    rm -f "$said"
    return "$status"
}

_sysconf_apt_update() {
    local pause
    for pause in 1 3 9 0; do
        _sysconf_quietly apt-get -q -o APT::Update::Error-Mode=any -o DPkg::Lock::Timeout=300 update && return
        sleep "$pause"
    done
    return 1
}

# Whether the package lists are missing, older than a day or than the list of sources.
_sysconf_apt_stale() {
    local lists=/var/lib/apt/lists
    compgen -G "$lists/*_Packages*" >/dev/null || return 0
    [ -z "$(find "$lists" -maxdepth 0 -mtime -1)" ] && return 0
    [ -n "$(find /etc/apt/sources.list /etc/apt/sources.list.d -newer "$lists" 2>/dev/null)" ]
}

_sysconf_apt() {
    _sysconf_quietly apt-get -q -y -o Dpkg::Options::=--force-confold -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 "$@"
}

# usage: sysconf_apt-get ARGUMENT...   (fatal where it fails twice)
sysconf_apt-get() {
    export DEBIAN_FRONTEND=noninteractive
    # A script that was killed may have left packages half configured.
    [ -z "$(ls -A /var/lib/dpkg/updates 2>/dev/null)" ] || dpkg --force-confold --configure -a
    _sysconf_apt_stale && _sysconf_apt_update
    _sysconf_apt "$@" && return
    nef_log "trying again: apt-get $*"
    _sysconf_apt_update
    dpkg --force-confold --configure -a
    _sysconf_apt "$@" || nef_fatal "apt-get $* failed"
}

# usage: sysconf_require_packages PACKAGE...   (installs what is missing)
sysconf_require_packages() {
    local missing=() package
    for package in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}\n' "${package%%[=/]*}" 2>/dev/null | sort -u)" = installed ] \
            || missing+=("$package")
    done
    [ "${#missing[@]}" -gt 0 ] || return 0
    nef_log "installing ${missing[*]}"
    sysconf_apt-get install --no-upgrade --no-install-recommends "${missing[@]}"
}

# usage: sysconf_fix_directory FOLDER [MODE] [OWNER[:GROUP]]
sysconf_fix_directory() {
    [ -d "$1" ] || { nef_log "creating folder $1"; mkdir -p "$1" || return; }
    [ -z "$3" ] || chown "$3" "$1" || return
    [ -z "$2" ] || chmod "$2" "$1"
}

# usage: sysconf_fix_user NAME [ARGUMENT OF useradd...]   (1 where the user was there)
sysconf_fix_user() {
    local name="$1"
    shift
    grep -q "^$name:" /etc/passwd && return 1
    nef_log "creating user $name"
    useradd "$@" "$name"
}

# usage: sysconf_fix_group NAME [ARGUMENT OF groupadd...]
sysconf_fix_group() {
    local name="$1"
    shift
    grep -q "^$name:" /etc/group && return 0
    nef_log "creating group $name"
    groupadd "$@" "$name"
}

# Old profiles of a program name themselves by these.
log() { nef_log "$@"; }
fatal_error() { nef_fatal "$@"; }
nef_command_init_options() { nef_opt_show_verbose=no; nef_opt_show_debug=no; }
