# Sourced by scripts/demo and scripts/test: a virtual environment in .venv, made once and brought up to date when
# pyproject.toml, the C sources or the list of modules change. POSIX sh, Linux and macOS.

# setup EXTRAS   install softllama (editable) with the given extras, such as "[test]"; sets $bin
setup() {
    python=${PYTHON:-python3}
    if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        echo "softllama needs Python 3.11 or newer; PYTHON=/path/to/python3 names one" >&2
        exit 1
    fi
    bin=.venv/bin
    stamp=".venv/installed$(echo "$1" | tr -dc 'a-z')"
    now=$({ cat pyproject.toml csrc/*; find softllama -name "*.py" | sort; } | cksum)  # an editable install knows each module
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$now" ] && "$bin/python" -c 'import softllama._shim' 2>/dev/null; then
        return
    fi
    [ -x "$bin/python" ] || "$python" -m venv .venv
    echo "installing; the first time llama.cpp is built, which takes some minutes" >&2
    "$bin/python" -m pip install --quiet --disable-pip-version-check --editable ".$1"
    echo "$now" >"$stamp"
}
