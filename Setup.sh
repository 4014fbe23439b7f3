#!/bin/sh
# Install the toolkit into .venv and run it.
#
#   sh Setup.sh Demo     try the page in a minute: a demo model and practice images, without TensorFlow
#   sh Setup.sh          install the packages; download ImageNet weights if the blood-cell weights are missing
#   sh Setup.sh Run      also run Data.py, Trainer.py, Validation.py and Classifier.py
#   sh Setup.sh Test     install and run the tests; further arguments go to pytest
#   sh Setup.sh --help   explain these words, which can be written in any case
#
# If it was edited on Windows, remove the carriage returns with: sed -i 's/\r//' Setup.sh
set -eu

venv=.venv
python=$venv/bin/python

# Without any pretrained weights, the whole network is trained on the synthetic smears. This narrow network learns them in
# about two minutes on two cores.
demo_settings="--set DepthMultiplier=0.25 --set Epochs=15 --set LearningRate=0.001"
demo_settings="$demo_settings --set EpochsBeforeDecay=3 --set LearningRateDecay=0.6"

say() { printf '%s\n' "$*"; }

# Print a text of the message catalogue in the language of the system; each %s in it is one of the further arguments. In
# English, and without a Python that can read the catalogue, the text stays as it is.
tell() {
    text=$1
    shift
    case ${LC_ALL:-${LC_MESSAGES:-${LANG-}}} in
    "" | C | C.* | POSIX | en*) ;;
    *) text=$("${system:-python3}" -m Classes.common.translation "$text" 2>/dev/null || say "$text") ;;
    esac
    # shellcheck disable=SC2059 # the text has the places of the arguments
    printf "$text\n" "$@"
}

# Print a word in lower case, with no other program, because PATH may have none yet.
lower() {
    case $1 in
    [Rr][Uu][Nn]) say run ;;
    [Tt][Ee][Ss][Tt]) say test ;;
    [Dd][Ee][Mm][Oo]) say demo ;;
    [Hh][Ee][Ll][Pp]) say help ;;
    *) say "$1" ;;
    esac
}

fail() {
    printf 'Error: ' >&2
    tell "$@" >&2
    exit 1
}

usage="usage: sh Setup.sh [Demo | Run | Test [pytest options]]"

usage() {
    say "$usage" >&2
    tell "sh Setup.sh --help explains each word." >&2
    exit 2
}

help() {
    say "$usage"
    say ""
    tell "  (no word)  install all packages"
    tell "  Demo       install what the page needs, start it with a demo model, open it"
    tell "  Run        install all, prepare the images, train, evaluate and classify"
    tell "  Test       install all and run the tests; further arguments go to pytest"
    say ""
    tell "The words can be written in any case. Everything is installed into %s." "$venv"
    tell "Demo needs no TensorFlow and takes about a minute. The others take longer."
}

is_supported() {
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1
}

# Print the command of a Python that the pinned packages support.
find_python() {
    for name in python3 python3.13 python3.12 python3.11 python3.10; do
        # If .venv is active, python3 is the one that is about to be replaced.
        case "$(command -v "$name" || :)" in "" | "$PWD/$venv"/*) continue ;; esac
        if is_supported "$name"; then
            say "$name"
            return
        fi
    done
    fail "no Python from 3.10 to 3.13 found; install one, for example: sudo apt install python3.11 python3.11-venv"
}

# Create .venv; replace one of an unsupported Python or of an interrupted run.
make_venv() {
    if is_supported "$python" && "$python" -m pip --version >/dev/null 2>&1; then
        return
    fi
    system=$(find_python)
    [ ! -t 1 ] || tell "Creating %s" "$venv"
    "$system" -c 'import ensurepip, venv' >/dev/null 2>&1 ||
        fail "%s has no venv module; install it, for example: sudo apt install python3-venv" "$system"
    rm -rf "$venv"
    "$system" -m venv "$venv" || fail "could not create %s, see above" "$PWD/$venv"
}

# Whether the same pinned versions were installed before and every package is still there.
is_installed() {
    needed=cli.TRAINING+cli.SERVER
    [ "$1" != requirements-serving.txt ] || needed=cli.SERVER
    [ -f "$venv/$1.done" ] && cat Required/requirements*.txt | cmp -s - "$venv/$1.done" &&
        "$python" -c "import sys; from Classes.common import cli; sys.exit(bool(cli.missing_packages($needed+cli.CLIENT)))"
}

run_pip() { "$python" -m pip install --disable-pip-version-check "$@"; }

# Show pip's own progress. The terminal cuts its long lines meanwhile, instead of wrapping them.
install_visibly() {
    trap 'printf "\033[?7h\033[?25h"' EXIT
    trap 'exit 130' INT
    printf '\033[?7l'
    if run_pip --requirement "$@" --log Logs/Setup.log; then code=0; else code=$?; fi
    printf '\033[?7h'
    trap - EXIT INT
    return "$code"
}

# Install a file of Required, unless that was done before.
install() {
    if is_installed "$1"; then
        return
    fi
    mkdir -p Logs
    # Compiling takes 40 % of the time; what the page needs of it, its first start compiles in less than a second.
    compile=--compile
    [ "$1" != requirements-serving.txt ] || compile=--no-compile
    if [ "$1" = requirements-serving.txt ]; then
        tell "Installing %s; this takes about a minute." "Required/$1"
    else
        tell "Installing %s; this takes a few minutes." "Required/$1"
    fi
    if [ -t 1 ]; then
        install_visibly "Required/$1" "$compile"
    else
        run_pip --quiet --requirement "Required/$1" "$compile" 2>Logs/Setup.log
    fi || fail "pip could not install %s, see Logs/Setup.log; check the network connection and the free disk space" "Required/$1"
    cat Required/requirements*.txt >"$venv/$1.done"
}

# List the files in sub-folders of the data folder, except captured images and names that match the pattern $1. A folder of
# captured images is CaptureDir or has the server's log.
images() (
    cd "$data" 2>/dev/null || exit 0
    # shellcheck disable=SC2016 # the arguments of the inner shell
    find -L . -mindepth 1 -type d -exec sh -c '[ -e "$1/Captured.jsonl" ] || [ "$1" -ef "$2" ]' _ {} "$captured" \; \
        -prune -o -path './*/*' -type f ! -name '.*' ! -iname 'Thumbs.db' ! -iname 'desktop.ini' \
        ! -path '*/__MACOSX/*' ! -name "${1-}" -print 2>/dev/null || :
)

main_job() {
    data=$("$python" -c 'from Classes import Helpers; print(Helpers.load_config().path("DatasetDir"))')
    captured=$("$python" -c 'from Classes import Helpers; print(Helpers.load_config().path("CaptureDir"))')
    # Until the last script, none of them says what to do next.
    export ALL_SETUP_STEP=middle
    [ -n "$(images)" ] || "$python" Data.py Demo
    settings=
    if [ "$weights" = none ] && [ -z "$(images 'Synthetic_*')" ]; then
        settings=$demo_settings
        tell "No pretrained weights: training a small network for a few minutes."
    fi
    "$python" Data.py
    # shellcheck disable=SC2086 # several words
    "$python" Trainer.py $settings
    "$python" Validation.py
    ALL_SETUP_STEP=last "$python" Classifier.py
}

main() {
    CDPATH='' cd -- "$(dirname -- "$0")"
    job=$(lower "${1-}")
    [ $# -eq 0 ] || shift
    case $job in
    test) ;;
    "" | run | demo) [ $# -eq 0 ] || usage ;;
    help | -h | --help) help && exit ;;
    *) usage ;;
    esac
    [ ! -t 1 ] || say "Leukemia toolkit · checking the installation"
    make_venv
    if [ "$job" = demo ]; then
        is_installed requirements.txt || install requirements-serving.txt
        exec "$python" Server.py --demo --open
    fi
    if nvidia-smi >/dev/null 2>&1; then
        install requirements-cuda.txt
    else
        install requirements.txt
    fi
    if [ "$job" = test ]; then
        install requirements-dev.txt
        # Two processes, since a test mostly waits or uses one core.
        exec "$python" -m pytest -n 2 --dist loadfile --no-loadscope-reorder "$@"
    fi
    weights=there
    # Training starts from these weights of the project, which need no download.
    if [ ! -f Model/WhiteCells/WhiteCells.pb ]; then
        "$python" -m Classes.networks.download_weights || weights=none
    fi
    if [ "$job" = run ]; then
        main_job
    else
        tell "Ready. Next: sh Setup.sh Run"
        tell "Or put your images into Model/Data/0 and Model/Data/1 and run python3 Data.py"
    fi
}

main "$@"
