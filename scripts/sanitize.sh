#!/bin/sh
# Runs the engine without Python (tests/native/driver.cpp) under AddressSanitizer with
# UndefinedBehaviorSanitizer, under ThreadSanitizer, and under valgrind's memcheck; and the pixel
# operations (tests/native/pixels.cpp), which have no threads, under the first and the last.
#
#     scripts/sanitize.sh [plain|address|thread|valgrind] ...   all but plain, where none is named
#
# CXX names the compiler. SIZE=full tries everything (hours in valgrind), SIZE=quick a third of it.
# Nothing is installed and no finding is suppressed. Exit status: 0 where all that was asked for ran
# and found nothing, 1 for findings, 2 where something is missing.
set -eu
cd "$(dirname "$0")/.."

compiler=${CXX:-g++}
size=${SIZE:-quick}
out=build/sanitize
engine=src/inkproof/engine/csrc
photo=src/inkproof/photo/csrc
log_lines=40
status=0

say() { printf '%s\n' "sanitize: $*"; }
missing() {
    say "$1"
    status=2
}

command -v "$compiler" >/dev/null || {
    say "there is no C++ compiler called $compiler (Debian: apt-get install g++; or set CXX)"
    exit 2
}

# The bindings alone need Python.
sources=$(find "$engine" -name '*.cpp' ! -name '*module.cpp' ! -name cpu.cpp | LC_ALL=C sort)

# What the machine that runs this can run, as CMakeLists.txt builds it.
variant='-DINKPROOF_VL=4'
if [ "$(uname -m)" = x86_64 ]; then
    if grep -q '^flags.*\bavx2\b.*' /proc/cpuinfo 2>/dev/null; then
        variant='-DINKPROOF_VL=8 -march=x86-64-v3'
    else
        say 'this processor does not run the variant v3; taking the portable one'
    fi
fi

# Factors of bfloat16 need instructions that few processors have.
has_bfloat16=
if grep -q '^flags.*\bavx512_bf16\b' /proc/cpuinfo 2>/dev/null; then has_bfloat16=yes; fi
# GCC 12 warns of its own header there (its bug 105593).
newest='-DINKPROOF_VL=16 -march=x86-64-v4 -mprefer-vector-width=512 -Wno-maybe-uninitialized'

build() { # name, flags ...
    name=$1
    shift
    mkdir -p "$out/$name"
    say "$name: building with $compiler"
    # shellcheck disable=SC2086 # lists of words
    "$compiler" -std=c++17 -g -ffp-contract=fast -Wall -Wextra -Wno-psabi $variant "$@" \
        -I "$engine" $sources tests/native/driver.cpp -pthread -o "$out/$name/driver"
}

build_pixels() { # name, flags ...
    name=$1
    shift
    mkdir -p "$out/$name"
    say "$name: building with $compiler"
    "$compiler" -std=c++17 -g -ffp-contract=off -Wall -Wextra "$@" -I "$photo" \
        "$photo/pixels.cpp" tests/native/pixels.cpp -o "$out/$name/driver"
}

# Says whether the compiler has a sanitizer's run-time library.
links() {
    printf 'int main() {}\n' >"$out/empty.cpp"
    "$compiler" "$@" "$out/empty.cpp" -o "$out/empty" 2>/dev/null
}

run() { # name, command ...
    name=$1
    shift
    say "$name: running, see $out/$name.log"
    if "$@" >"$out/$name.log" 2>&1; then
        say "$name: clean; $(tail -n 1 "$out/$name.log")"
    else
        say "$name: FAILED; the end of $out/$name.log:"
        tail -n "$log_lines" "$out/$name.log"
        [ "$status" = 2 ] || status=1
    fi
}

mkdir -p "$out"
for name in "${@:-all}"; do
    case $name in plain | address | thread | valgrind | all) ;; *)
        say "no check is called $name; use plain, address, thread or valgrind"
        exit 2
        ;;
    esac
done
[ $# -gt 0 ] || set -- address thread valgrind

for name; do
    case $name in
    plain)
        build plain -O2
        run plain "$out/plain/driver" "$size"
        build_pixels pixels -O2
        run pixels "$out/pixels/driver" "$size"
        ;;
    address)
        flags='-fsanitize=address,undefined,float-divide-by-zero -fno-sanitize-recover=all'
        # shellcheck disable=SC2086
        if links $flags; then
            own=$variant
            for tiles in address address-wide; do
                # The tiles of the variant v4 differ; they run here without its instructions.
                [ $tiles = address ] || variant=$(echo "$own" | sed 's/VL=[0-9]*/VL=16/')
                # shellcheck disable=SC2086
                build $tiles -O1 -fno-omit-frame-pointer -D_GLIBCXX_ASSERTIONS $flags
                run $tiles env ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1 \
                    UBSAN_OPTIONS=print_stacktrace=1 "$out/$tiles/driver" "$size"
            done
            if [ $has_bfloat16 ]; then
                variant=$newest
                # shellcheck disable=SC2086
                build address-bfloat16 -O1 -fno-omit-frame-pointer -D_GLIBCXX_ASSERTIONS $flags
                # The processor's own tiles read and write unseen; the emulated ones do not.
                for factors in bfloat16 tiles; do
                    run "address-$factors" "$out/address-bfloat16/driver" "$size" $factors
                done
            fi
            variant=$own
            # shellcheck disable=SC2086
            build_pixels pixels-address -O1 -fno-omit-frame-pointer -D_GLIBCXX_ASSERTIONS $flags
            run pixels-address env UBSAN_OPTIONS=print_stacktrace=1 \
                "$out/pixels-address/driver" "$size"
        else
            missing "address: $compiler has no AddressSanitizer (Debian: in g++; libasan, libubsan)"
        fi
        ;;
    thread)
        if links -fsanitize=thread; then
            build thread -O1 -fno-omit-frame-pointer -fsanitize=thread
            run thread env TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1 \
                "$out/thread/driver" "$size"
            if [ $has_bfloat16 ]; then
                own=$variant variant=$newest
                build thread-bfloat16 -O1 -fno-omit-frame-pointer -fsanitize=thread
                for factors in bfloat16 tiles; do
                    run "thread-$factors" \
                        env TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1 \
                        "$out/thread-bfloat16/driver" "$size" $factors
                done
                variant=$own
            fi
        else
            missing "thread: $compiler has no ThreadSanitizer (Debian: in g++; libtsan)"
        fi
        ;;
    valgrind)
        if command -v valgrind >/dev/null; then
            build valgrind -O2
            run valgrind valgrind --quiet --error-exitcode=3 --leak-check=full \
                --errors-for-leak-kinds=definite,possible --fair-sched=yes \
                "$out/valgrind/driver" "$size"
            build_pixels pixels-valgrind -O2
            run pixels-valgrind valgrind --quiet --error-exitcode=3 --leak-check=full \
                "$out/pixels-valgrind/driver" "$size"
        else
            missing 'valgrind: there is no valgrind (Debian: apt-get install valgrind)'
        fi
        ;;
    esac
done
exit "$status"
