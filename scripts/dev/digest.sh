# Sourced by check_arm64, check_musl and check_windows, in the repository's root: do the kernels compute the same bits elsewhere as here?
# POSIX sh.

# needs TOOL...    exit 77 where one is missing
needs() {
    for tool in "$@"; do
        if ! command -v "$tool" >/dev/null; then
            echo "skipped: needs $tool" >&2
            exit 77
        fi
    done
}

# compare NAME COMPILER RUN [FLAG...]    print and compare the digests of this machine and of what RUN emulates
compare() {
    name=$1 cross=$2 run=$3
    shift 3
    work=$(mktemp -d)
    trap 'rm -rf "$work" || true' EXIT INT TERM
    export WINEPREFIX="$work/wine" # a folder of its own, if RUN is wine
    sources="tests/support/isa_digest.c $(ls csrc/*.c)"
    flags="-std=c11 -O3 -Icsrc -Wall -Wextra -ffp-contract=off -fno-trapping-math -fno-math-errno"
    # shellcheck disable=SC2086
    ${CC:-cc} $flags $sources -o "$work/here" -lm -pthread
    # shellcheck disable=SC2086
    $cross $flags -static "$@" $sources -o "$work/there.exe" -lm
    "$work/here" | sed "s/^/$(uname -m) /" >"$work/lines"
    $run "$work/there.exe" | tr -d '\r' >"$work/other"
    sed "s/^/$name /" "$work/other" >>"$work/lines"
    cat "$work/lines"
    test -s "$work/other"
    test "$(sed 's/^[^ ]* *[^ ]* *//' "$work/lines" | sort -u | wc -l)" = 1 || {
        echo "they differ" >&2
        exit 1
    }
    echo "the same to the bit"
}
