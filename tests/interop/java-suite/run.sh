#!/usr/bin/env bash
# RocketMQ's own integration tests against three brokers. See README.md.
# Arguments: classes of classes.txt, as they stand there; default: CI's choice, with FULL=1 the longer one.
# NAMESRV=HOST:PORT in the environment: the cluster behind that name server instead of one started here.
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
need java mvn timeout
begin java-suite

suite=$INTEROP/java-suite
build=$CACHE/java-suite
tries=2   # of a class; the last one counts, and its line says so
limit=300 # seconds for a class, or twice what the list says, if that is more

# What this release of rmq has to pass; the rest of the list awaits transactions, POP, timers, SQL filters and TLS.
packages='^(client\.producer\.(async|oneway|exception|querymsg)|client\.consumer\.(balance|broadcast|cluster|tag|topic)|route|delay|smoke)\.'

# The list without comments, its last column "races" or "-": class, tests, seconds, lane, methods left out, mark.
list() { awk '/^#/ || NF == 0 { next } { print $1, $2, $3, $4, $5, ($0 ~ /# *races/ ? "races" : "-") }' "$suite/classes.txt"; }
if [ $# -gt 0 ]; then
    chosen=$(list | awk -v wanted=" $* " 'index(wanted, " " $1 " ")')
elif [ -n "$FULL" ]; then
    chosen=$(list | grep -E "$packages")
else
    chosen=$(list | grep -E "$packages" | awk '$4 == "push" && $6 != "races"')
fi
[ -n "$chosen" ] || die "no such class in classes.txt"

if ! fresh "$build/.built" "$suite/pom.xml" "$suite/src"; then
    rm -rf "$build"
    mvn -q -B -Dstyle.color=never -f "$suite/pom.xml" -Dsuite.build="$build" package >&2 || die "Maven could not build the suite"
    touch "$build/.built"
fi

if [ -z "${NAMESRV:-}" ]; then
    if [ "$SERVER" = apache ]; then # as the suite sets up its own servers
        BROKER_KEYS=(mappedFileSizeCommitLog=67108864 maxIndexNum=1000 maxHashSlotNum=4000 enablePropertyFilter=true
            enableCalcFilterBitMap=true enableConsumeQueueExt=true appendAckAsync=true appendCkAsync=true recallMessageEnable=true
            popConsumerKVServiceInit=true loadBalancePollNameServerInterval=500 maxTransferCountOnMessageInMemory=1024
            maxTransferCountOnMessageInDisk=1024)
    fi
    cluster broker-a broker-b broker-c
fi

# One run of one class. Sets good, bad and why; leaves the output in the log.
run_class() { # class expected-tests seconds-it-should-take methods-left-out log
    local class=$1 expected=$2 seconds=$((limit > $3 * 2 ? limit : $3 * 2)) status=0 except=()
    [ "$4" = - ] || read -ra except <<<"${4//,/ }"
    HOME=$WORK/home timeout -k 5 "$seconds" java -Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 "${OPENS[@]}" \
        -Drmq.namesrv="$NAMESRV" -Drmq.cluster=DefaultCluster -Drmq.brokers= -Drocketmq.namesrv.addr="$NAMESRV" \
        -Duser.home="$WORK/home" -Djava.io.tmpdir="$WORK/tmp" -cp "$build/classes:$build/lib/*" \
        rmq.interop.Suite "org.apache.rocketmq.test.$class" "${except[@]}" >"$5" 2>&1 </dev/null &
    PIDS[client-suite]=$!
    wait $! || status=$?
    unset 'PIDS[client-suite]'
    good=$(grep -c '^pass  ' "$5" || true) bad=$(grep -c '^FAIL  ' "$5" || true) why=
    case $status in
        0 | 1) ;;
        124 | 137) why="did not end within $seconds s" ;;
        *) why="its JVM exited with $status" ;;
    esac
    # A test that never reported counts as failed.
    if [ $((good + bad)) -lt "$expected" ]; then
        why="${why:+$why, }$((expected - good - bad)) of $expected tests never reported"
    elif [ $status -ne 0 ] && [ "$bad" -eq 0 ]; then
        why=${why:-its JVM exited with $status}
    fi
}

while read -r class expected seconds _ except _; do
    started=$SECONDS
    for ((try = 1; try <= tries; try++)); do
        log=$WORK/logs/$class.$try.log
        run_class "$class" "$expected" "$seconds" "$except" "$log"
        [ "$bad" -gt 0 ] || [ -n "$why" ] || break
        [ $try -eq $tries ] || { sed -n 's/^FAIL  /fail /p' "$log"; echo "again $class${why:+: $why}"; }
    done
    sed -nE 's/^(pass|FAIL|skip|note)  /\1 /p' "$log"
    [ -z "$why" ] || echo "FAIL $class: $why, log $log"
    echo "class $class: $good ok, $bad failed, $((SECONDS - started)) s"
done <<<"$chosen"
