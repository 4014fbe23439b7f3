#!/bin/sh
# Install the toolkit into .venv and run it.
#
#   sh Setup.sh          install the packages, download the pretrained weights
#   sh Setup.sh Run      also run Data.py, Trainer.py, Validation.py and Classifier.py
#   sh Setup.sh Test     install and run the tests; further arguments go to pytest
#
# If it was edited on Windows, remove the carriage returns with: sed -i 's/\r//' Setup.sh
set -eu

venv=.venv
python=$venv/bin/python

# Without pretrained weights, the whole network is trained on the synthetic smears. This narrow network learns them in
# about two minutes on two cores.
demo_settings="--set DepthMultiplier=0.25 --set Epochs=15 --set LearningRate=0.001"
demo_settings="$demo_settings --set EpochsBeforeDecay=3 --set LearningRateDecay=0.6"

say() { printf '%s\n' "$*"; }

fail() {
    say "Error: $*" >&2
    exit 1
}

usage() {
    say "usage: sh Setup.sh [Run | Test [pytest options]]" >&2
    exit 2
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
    "$system" -c 'import ensurepip, venv' >/dev/null 2>&1 ||
        fail "$system has no venv module; install it, for example: sudo apt install python3-venv"
    rm -rf "$venv"
    "$system" -m venv "$venv" || fail "could not create $PWD/$venv, see above"
}

# Whether the same pinned versions were installed before and every package is still there.
is_installed() {
    [ -f "$venv/$1.done" ] && cat Required/requirements*.txt | cmp -s - "$venv/$1.done" &&
        "$python" -c 'import sys; from Classes.common import cli; sys.exit(bool(cli.missing_packages(cli.TRAINING + cli.SERVER + cli.CLIENT)))'
}

install() {
    if is_installed "$1"; then
        return
    fi
    mkdir -p Logs
    say "Installing Required/$1 into $venv; the first run takes some minutes."
    "$python" -m pip install --quiet --disable-pip-version-check --requirement "Required/$1" 2>Logs/Setup.log ||
        fail "pip could not install Required/$1, see Logs/Setup.log; check the network connection and the free disk space"
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
    [ -n "$(images)" ] || "$python" Data.py Demo
    settings=
    if [ "$weights" = none ] && [ -z "$(images 'Synthetic_*')" ]; then
        settings=$demo_settings
        say "No real images and no pretrained weights: training with $settings."
    fi
    "$python" Data.py
    # shellcheck disable=SC2086 # several words
    "$python" Trainer.py $settings
    "$python" Validation.py
    "$python" Classifier.py
}

main() {
    CDPATH='' cd -- "$(dirname -- "$0")"
    job=${1-}
    [ $# -eq 0 ] || shift
    case $job in
    Test) ;;
    "" | Run) [ $# -eq 0 ] || usage ;;
    *) usage ;;
    esac
    make_venv
    if nvidia-smi >/dev/null 2>&1; then
        install requirements-cuda.txt
    else
        install requirements.txt
    fi
    if [ "$job" = Test ]; then
        install requirements-dev.txt
        # Two processes, since a test mostly waits or uses one core.
        exec "$python" -m pytest -n 2 --dist loadfile --no-loadscope-reorder "$@"
    fi
    weights=there
    "$python" -m Classes.networks.download_weights || weights=none
    if [ "$job" = Run ]; then
        main_job
    else
        say "Ready. Next: sh Setup.sh Run, or put your images into Model/Data/0 and Model/Data/1 and run python3 Data.py"
    fi
}

main "$@"
