# Makes a directory, waits for the end of its standard input, ends the server
# programs working in the directory, and removes it.
#
# $1 is the directory to make, as an absolute path; $2 has the server programs.
# Standard input is a pipe whose only write end is in the parent: it ends when
# the parent closes it or is no more. Prints `ready` once the directory is there.

directory=$1
programs=$2

# Nothing but SIGKILL ends this process early, not even a parent that died
# before it could read `ready`.
trap '' HUP INT QUIT TERM PIPE
umask 077
exec 2>&1
mkdir -- "$directory" && cd -- "$directory" || exit 1
echo ready
# From here on no stream of the parent is held open.
exec >/dev/null 2>&1

# Sets `pids` to the server programs that work in the directory. The current
# directory and the program are compared as files, so that neither a recycled pid
# nor somebody who only looks around in the directory is ever signalled.
find_running() {
    pids=
    for process in /proc/[0-9]*; do
        [ "$process/cwd" -ef . ] || [ "$process/cwd" -ef data ] || continue
        [ "$process/exe" -ef "$programs/postgres" ] ||
            [ "$process/exe" -ef "$programs/initdb" ] || continue
        pids="$pids ${process#/proc/}"
    done
    [ -n "$pids" ]
}

# Signals `initdb` and the postmaster only, and leaves their children to them. A
# bootstrap server that is killed would leave its shared memory behind; when its
# `initdb` goes it reads the end of its input and goes, too.
ask() {
    for pid in $pids; do
        [ "/proc/$pid/exe" -ef "$programs/initdb" ] && kill -s QUIT "$pid"
    done
    # A bootstrap server writes its pid as a negative number.
    read -r postmaster <data/postmaster.pid || return
    case " $pids " in
    *" $postmaster "*) kill -s QUIT "$postmaster" ;;
    esac
}

order() {
    for pid in $pids; do
        kill -s "$1" "$pid"
    done
}

# Repeats a command, $2 times at most, until nothing is running.
repeat_until_gone() {
    command=$1
    left=$2
    while find_running && [ "$left" -gt 0 ]; do
        $command
        left=$((left - 1))
        sleep 0.05 || sleep 1
    done
}

while read -r _; do :; done

# A second round is for a program that was about to be started when the parent
# died. It finds its current directory removed and would end by itself.
for round in 1 2; do
    repeat_until_gone ask 100
    repeat_until_gone 'order QUIT' 40
    repeat_until_gone 'order KILL' 40
    rm -rf -- "$directory"
done
[ ! -e "$directory" ]
