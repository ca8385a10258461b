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
    llama
    "$bin/python" -m pip install --quiet --disable-pip-version-check --editable ".$1"
    echo "$now" >"$stamp"
}

# llama    install llama-cpp-python, unless it is there: a ready wheel of its author's if his index answers, else from source
llama() {
    if "$bin/python" -c 'import llama_cpp' 2>/dev/null; then
        return
    fi
    index=$("$bin/python" -c 'from softllama.base import install_lines as i; print(i.line(i.folder_here()).split()[-2])')
    echo "installing: a ready llama-cpp-python from $index, if there is one" >&2
    if "$bin/python" -c 'import sys, urllib.request as u; u.urlopen(sys.argv[1] + "/llama-cpp-python/", timeout=10)' "$index" 2>/dev/null &&
        "$bin/python" -m pip install --quiet --disable-pip-version-check --only-binary llama-cpp-python --prefer-binary \
            --timeout 20 --retries 1 --extra-index-url "$index" "llama-cpp-python>=0.3.17"; then
        return
    fi
    echo "there is none, or its index cannot be reached: llama.cpp is built from source, which takes 5 to 20 minutes" >&2
}
