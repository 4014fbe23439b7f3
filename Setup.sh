#!/bin/sh
# Set the toolkit up in .venv, and run it.
#
#   sh Setup.sh          install, fetch the pretrained weights
#   sh Setup.sh Run      and do the main job: Data, Trainer, Validation, Classifier
#   sh Setup.sh Test     and run the tests
#
# Edited on Windows? Clean it with: sed -i 's/\r//' Setup.sh
set -eu

cd "$(dirname "$0")"
venv=.venv
python=$venv/bin/python

say() { printf '%s\n' "$*"; }
fail() { say "Error: $*" >&2; exit 1; }

supported='import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))'

find_python() {
    for name in python3 python3.13 python3.12 python3.11 python3.10; do
        if command -v "$name" >/dev/null 2>&1 && "$name" -c "$supported" 2>/dev/null; then
            say "$name"
            return
        fi
    done
    fail "Python 3.10, 3.11, 3.12 or 3.13 is needed and none was found; install one and run this again"
}

make_venv() {
    if [ -x "$python" ] && "$python" -c "$supported" 2>/dev/null && "$python" -m pip --version >/dev/null 2>&1; then
        return
    fi
    system=$(find_python)
    "$system" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$system lacks the venv module; install it (on Debian and Ubuntu: sudo apt install python3-venv)"
    rm -rf "$venv"
    "$system" -m venv "$venv" || fail "$venv could not be made; is the disk full, or the folder read-only?"
}

# Installs a requirements file unless the very same was installed before.
install() {
    stamp=$venv/$(basename "$1").installed
    wanted=$(cat Required/requirements*.txt)
    if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
        return
    fi
    say "Installing $1 into $venv; the first time this takes some minutes."
    "$python" -m pip install --quiet --disable-pip-version-check --requirement "$1" ||
        fail "pip could not install $1, see above; check the network and run this again"
    printf '%s' "$wanted" >"$stamp"
}

has_images() {
    [ -n "$(find Model/Data -mindepth 2 -type f ! -name '.*' 2>/dev/null | head -n 1)" ]
}

has_weights() {
    [ -n "$(find Model/Pretrained -type f ! -name '.*' 2>/dev/null | head -n 1)" ]
}

only_synthetic() {
    [ -z "$(find Model/Data -mindepth 2 -type f ! -name '.*' ! -name 'Synthetic_*' | head -n 1)" ]
}

main_job() {
    has_images || "$python" Data.py Demo
    settings=
    if only_synthetic && ! has_weights; then
        # Without pretrained weights the whole network is trained; this narrow one learns the drawn cells in minutes.
        settings="--set DepthMultiplier=0.25 --set Epochs=12 --set LearningRate=0.001"
        say "No pretrained weights: a narrow network is trained on the synthetic smears from random values."
    fi
    "$python" Data.py
    # shellcheck disable=SC2086 # each word is an argument
    "$python" Trainer.py $settings
    "$python" Validation.py
    "$python" Classifier.py
}

case "${1-}" in
    "" | Run | Test) [ $# -le 1 ] || fail "one word at most is expected: Run or Test" ;;
    *) say "usage: sh Setup.sh [Run|Test]" >&2; exit 2 ;;
esac

make_venv
install Required/requirements.txt
case "${1-}" in
    Test)
        install Required/requirements-dev.txt
        exec "$python" -m pytest
        ;;
    Run)
        "$python" -m Classes.Fetch
        main_job
        ;;
    *)
        "$python" -m Classes.Fetch
        say "Ready. Next: sh Setup.sh Run, or put images into Model/Data/0 and Model/Data/1 and run python3 Data.py"
        ;;
esac
