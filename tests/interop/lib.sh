# Sourced by every part: processes, ports, and servers (rmq or Apache RocketMQ) that stop with the shell that started them.
#
# Set by ./run, with defaults for running a part by hand:
#   SERVER  rmq | apache      what the part tests
#   RMQ_BIN                   the rmq binary
#   FULL    1 | ""            everything, or the CI lane
#   CACHE                     what is fetched and built, kept between runs
#   WORK                      stores, logs, homes of this part, wiped at its start
set -euo pipefail

INTEROP=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$INTEROP/../.." && pwd)
SERVER=${SERVER:-rmq}
FULL=${FULL:-}
CACHE=${CACHE:-$ROOT/target/interop}
WORK=${WORK:-$CACHE/run/by-hand}
APACHE_VERSION=5.5.0

die() { echo "FAIL $PART: $*"; exit 1; }

# begin PART: an empty work folder, and a clean end whatever happens.
begin() {
    PART=$1
    rm -rf "$WORK"
    mkdir -p "$WORK"/{home,logs,tmp} "$CACHE"
    trap cleanup EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
}

# ---- tools -------------------------------------------------------------------------------------------------------

# need TOOL...: leaves the part with status 77 and the reason when one is missing.
need() {
    local tool
    for tool; do
        command -v "$tool" >/dev/null || { echo "skipped: $tool is missing"; exit 77; }
    done
}

# fresh STAMP FILE...: false when the stamp is missing or older than one of the files (folders are searched).
fresh() {
    local stamp=$1
    shift
    [ -e "$stamp" ] && [ -z "$(find "$@" -newer "$stamp" -print -quit)" ]
}

# ---- processes ---------------------------------------------------------------------------------------------------

declare -A PIDS=()

# start NAME COMMAND...: in the background, output in logs/NAME.out and logs/NAME.err.
start() {
    local name=$1
    shift
    : >"$WORK/logs/$name.out" # emptied here, so that a waiter does not see what an earlier run printed
    "$@" >>"$WORK/logs/$name.out" 2>"$WORK/logs/$name.err" </dev/null &
    PIDS[$name]=$!
    disown # the shell would report its end
}

running() { [ -n "${PIDS[$1]:-}" ] && kill -0 "${PIDS[$1]}" 2>/dev/null; }

# stop NAME [SIGNAL]: sends the signal (TERM) and waits for the end; a process that ignores TERM for 30 s is killed.
stop() {
    local name=$1 signal=${2:-TERM} pid=${PIDS[$1]:-} tenths=300
    [ -n "$pid" ] || return 0
    unset "PIDS[$name]"
    kill "-$signal" "$pid" 2>/dev/null || true
    while kill -0 "$pid" 2>/dev/null; do
        if ((tenths-- == 0)); then
            echo "note $name did not stop within 30 s and was killed" >&2
            kill -9 "$pid" 2>/dev/null || true
        fi
        sleep 0.1
    done
}

# Runs at the end of the part: stores are thrown away, so nothing needs an orderly stop.
cleanup() {
    trap - EXIT
    local name pid
    for name in "${!PIDS[@]}"; do
        pid=${PIDS[$name]}
        # `timeout` passes TERM on to what it runs; a server is killed at once.
        if [[ $name == client-* ]]; then kill "$pid" 2>/dev/null || true; else kill -9 "$pid" 2>/dev/null || true; fi
    done
    wait 2>/dev/null || true
}

# begin_client SECONDS COMMAND...: in the background with a time limit, home and temporary files in the work folder.
declare -A LIMIT=()
begin_client() {
    local limit=$1
    shift
    HOME=$WORK/home TMPDIR=$WORK/tmp timeout -k 5 "$limit" "$@" &
    PIDS[client-$!]=$!
    LIMIT[$!]="${1##*/} $limit"
}

# end_clients: waits for all of them. A program reports its own failures and exits 0 or 3; any other end is
# reported here. (Waited for in the background, so that a signal to this shell is acted on at once.)
end_clients() {
    local pid status program limit
    for pid in "${!LIMIT[@]}"; do
        status=0
        wait "$pid" || status=$?
        read -r program limit <<<"${LIMIT[$pid]}"
        unset "PIDS[client-$pid]" "LIMIT[$pid]"
        case $status in
            0 | 3) ;;
            124 | 137) echo "FAIL $PART: $program did not end within $limit s" ;;
            *) echo "FAIL $PART: $program exited with $status" ;;
        esac
    done
}

client() { begin_client "$@"; end_clients; }

# ---- waiting -----------------------------------------------------------------------------------------------------

port_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# await_line NAME REGEX [SECONDS]: until the process has printed such a line; its logs are shown when it does not.
await_line() {
    local name=$1 regex=$2 tenths=$((${3:-60} * 10))
    until grep -qE "$regex" "$WORK/logs/$name.out"; do
        if ! running "$name" || ((tenths-- == 0)); then
            tail -n 15 "$WORK/logs/$name.out" "$WORK/logs/$name.err" >&2
            die "$name is not ready, logs in $WORK/logs"
        fi
        sleep 0.1
    done
}

# free_ports: sets PORT to one whose neighbours PORT-2 (fast) and PORT+1 (HA) are free too. Below the range the
# system hands out to clients, a random place each time, never the same twice in one part.
NEXT_PORT=$((10000 + (RANDOM % 2000) * 10))
free_ports() {
    while :; do
        NEXT_PORT=$((NEXT_PORT >= 31000 ? 10000 : NEXT_PORT + 10))
        PORT=$NEXT_PORT
        if ! port_open $PORT && ! port_open $((PORT - 2)) && ! port_open $((PORT + 1)); then return; fi
    done
}

# ---- Apache RocketMQ from Maven Central ----------------------------------------------------------------------------

OPENS=(--add-opens=java.base/java.nio=ALL-UNNAMED --add-opens=java.base/sun.nio.ch=ALL-UNNAMED
       --add-exports=java.base/jdk.internal.ref=ALL-UNNAMED --add-opens=java.base/jdk.internal.ref=ALL-UNNAMED
       --add-opens=java.base/java.lang=ALL-UNNAMED --add-opens=java.base/java.util=ALL-UNNAMED)

# classpath VERSION [servers]: prints the class path of Apache RocketMQ's client and admin tools of that version,
# and of its servers.
classpath() {
    local file=$CACHE/classpath-$1${2:+-$2}
    if ! fresh "$file" "$INTEROP/java/pom.xml" || ! tr ':' '\n' <"$file" | while read -r jar; do [ -e "$jar" ] || exit 1; done; then
        mvn -q -B -Dstyle.color=never -f "$INTEROP/java/pom.xml" -Drocketmq.version="$1" ${2:+-P"$2"} dependency:build-classpath \
            -Dmdep.outputFile="$file" >&2 || return 1
        touch "$file"
    fi
    cat "$file"
}

# javac_into FOLDER CLASSPATH FILE...: compiles when a source or the class path changed.
javac_into() {
    local folder=$1 path=$2
    shift 2
    if fresh "$folder/.built" "$@" && [ "$(cat "$folder/.built")" = "$path" ]; then return; fi
    rm -rf "$folder" && mkdir -p "$folder"
    javac -nowarn -Xlint:-options --release 11 -d "$folder" -cp "$path" "$@" 2>&1 | grep -v "^Note: " >&2
    [ "${PIPESTATUS[0]}" -eq 0 ] || return 1
    printf '%s' "$path" >"$folder/.built"
}

# java_server NAME MAIN-CLASS ARG...
java_server() {
    local name=$1 path
    shift
    path=$(classpath $APACHE_VERSION servers) || die "Maven could not fetch Apache RocketMQ $APACHE_VERSION"
    ROCKETMQ_HOME=$WORK/home start "$name" java -Xms256m -Xmx512m -XX:MaxDirectMemorySize=1g -XX:+UseSerialGC \
        -XX:TieredStopAtLevel=1 "${OPENS[@]}" -Duser.home="$WORK/home/$name" -cp "$path" "$@"
}

# jvm CLASSPATH: sets JAVA to the command that runs a client program.
jvm() {
    JAVA=(java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 "${OPENS[@]}" -Duser.home="$WORK/home"
          -Djava.io.tmpdir="$WORK/tmp" -Dlogback.configurationFile="$INTEROP/java/logback.xml"
          -Drocketmq.client.localOffsetStoreDir="$WORK/home/offsets" -cp "$1")
}

# ---- servers -------------------------------------------------------------------------------------------------------
# A kind is rmq or apache. Each start is waited for with await_namesrv and await_broker, so that several start at once.

# start_namesrv KIND: sets NAMESRV.
start_namesrv() {
    free_ports
    NAMESRV=127.0.0.1:$PORT
    if [ "$1" = rmq ]; then
        start namesrv "$RMQ_BIN" namesrv start --listen "$NAMESRV" --json
    else
        printf '%s\n' "listenPort=$PORT" "bindAddress=127.0.0.1" "kvConfigPath=$WORK/home/kv.json" \
            "configStorePath=$WORK/home/namesrv.properties" >"$WORK/namesrv.conf"
        java_server namesrv org.apache.rocketmq.namesrv.NamesrvStartup -c "$WORK/namesrv.conf"
    fi
}
await_namesrv() { # KIND
    if [ "$1" = rmq ]; then await_line namesrv '^\{.*"pid"'; else await_line namesrv 'Name Server boot success'; fi
}

# start_broker KIND NAME STORE PORT [KEY=VALUE...]: a master of DefaultCluster at $NAMESRV.
declare -A BROKER=()
start_broker() {
    local kind=$1 name=$2 store=$3 port=$4 key keys=()
    shift 4
    BROKER[$name]=127.0.0.1:$port
    if [ "$kind" = rmq ]; then
        for key; do keys+=(--set "$key"); done
        start "$name" "$RMQ_BIN" broker start --listen "127.0.0.1:$port" --store "$store" --name "$name" \
            --cluster DefaultCluster --namesrv "$NAMESRV" --json "${keys[@]}"
    else
        mkdir -p "$store"
        printf '%s\n' brokerClusterName=DefaultCluster "brokerName=$name" brokerId=0 brokerIP1=127.0.0.1 \
            bindAddress=127.0.0.1 "listenPort=$port" "haListenPort=$((port + 1))" "namesrvAddr=$NAMESRV" \
            "storePathRootDir=$store" "storePathCommitLog=$store/commitlog" mappedFileSizeCommitLog=67108864 \
            maxIndexNum=100000 maxHashSlotNum=20000 diskMaxUsedSpaceRatio=95 "$@" >"$WORK/$name.conf"
        java_server "$name" org.apache.rocketmq.broker.BrokerStartup -c "$WORK/$name.conf"
    fi
}
await_broker() { # KIND NAME
    if [ "$1" = rmq ]; then await_line "$2" '^\{.*"pid"'; else await_line "$2" 'boot success' 120; fi
    # Apache's broker may say so up to 10 s before it registers.
    local tenths=600
    until cluster_info | grep -qF "\"$2\""; do
        ((tenths-- > 0)) || die "$2 has not registered within 60 s"
        sleep 0.1
    done
}

# cluster_info: the name server's answer to request 106 (GET_BROKER_CLUSTER_INFO), nothing when there is none.
cluster_info() {
    local json='{"code":106,"flag":0,"language":"JAVA","opaque":1,"version":401}' length
    (
        exec 3<>"/dev/tcp/${NAMESRV%:*}/${NAMESRV#*:}"
        printf '%b%s' "\\0000\\0000\\0000\\0$(printf %o $((4 + ${#json})))\\0000\\0000\\0000\\0$(printf %o ${#json})" "$json" >&3
        length=$((16#$(timeout 5 head -c 4 <&3 | od -An -tx1 | tr -d ' ')))
        timeout 5 head -c $length <&3 | tr -d '\0'
    ) 2>/dev/null || true
}

# cluster NAME...: a name server and these masters of kind $SERVER, ready. Keys for all of them in BROKER_KEYS.
BROKER_KEYS=()
cluster() {
    local name
    start_namesrv "$SERVER"
    await_namesrv "$SERVER"
    for name; do
        free_ports
        start_broker "$SERVER" "$name" "$WORK/store/$name" "$PORT" "${BROKER_KEYS[@]}"
    done
    for name; do await_broker "$SERVER" "$name"; done
}
