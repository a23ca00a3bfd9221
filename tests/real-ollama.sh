#!/usr/bin/env bash
# Checks fanfold against a real Ollama:
#
#   OLLAMA_HOST=http://127.0.0.1:11434 tests/real-ollama.sh MODEL [OTHER_MODEL]
#
# MODEL is a small model that the server has, such as smollm2:135m. OTHER_MODEL is for the check of two models on a
# server that holds one. The program is $FANFOLD, by default target/debug/fanfold. The script makes the models
# `fanfold-check` and `fanfold-check-copy` on the server and removes them at the end.
#
# With START_OLLAMA=1 and the program `ollama`, it also starts a server of its own on port 11999, kills it in the middle
# of a run and starts it again. That server uses the models of $OLLAMA_MODELS and holds one model at a time.
#
# It needs bash and curl. Each check prints `ok`, `FAIL` or `skip` with the reason. Exit code: 0, or 1 if a check failed,
# or 2 if the checks could not begin.

set -u

if [ $# -lt 1 ]; then
    sed -n '2,16s/^# \{0,1\}//p' "$0"
    exit 2
fi
MODEL=$1
OTHER=${2:-}
HOST=${OLLAMA_HOST:-http://127.0.0.1:11434}
case $HOST in http*://*) ;; *) HOST=http://$HOST ;; esac
ROOT=$(cd "$(dirname "$0")/.." && pwd)
FANFOLD=${FANFOLD:-$ROOT/target/debug/fanfold}
OWN_PORT=11999
WORK=$(mktemp -d)
FAILED=0
OWN=

api() { # METHOD PATH [BODY]
    curl -sS -m 600 -X "$1" "$HOST$2" ${3:+-d "$3"}
}

end() {
    for made in fanfold-check fanfold-check-copy; do
        api DELETE /api/delete "{\"model\":\"$made\"}" >/dev/null 2>&1
    done
    [ -n "$OWN" ] && kill "$OWN" 2>/dev/null
    rm -rf "$WORK"
}
trap end EXIT

command -v curl >/dev/null || { echo "curl is not installed"; exit 2; }
[ -x "$FANFOLD" ] || { echo "$FANFOLD is not there; build it, or set FANFOLD"; exit 2; }

ok() { echo "ok   $1"; }
skip() { echo "skip $1: $2"; }
fail() { # NAME REASON [FILE]
    FAILED=$((FAILED + 1))
    echo "FAIL $1: $2"
    [ -z "${3:-}" ] || sed 's/^/     | /' "$3"
}

# A folder NAME with the file data.csv of ROWS rows. Makes it the working folder.
project() { # NAME ROWS
    mkdir -p "$WORK/$1"
    cd "$WORK/$1" || exit 2
    echo "id,text" >data.csv
    for i in $(seq 1 "$2"); do echo "s$i,Speech number $i is on trade and peace." >>data.csv; done
}

# The beginning of a spec, with a model `m` and more lines in its table.
head_of() { # MODEL LINES
    printf '[models.m]\nprovider = "ollama"\nmodel = "%s"\ntemperature = 0.0\nmax_tokens = 64\n%s\n' "$1" "$2"
    printf '[sources.rows]\ntype = "file"\npath = "data.csv"\nkey = "id"\n'
}

# A stage NAME that asks the model MODEL about each row, and its output.
stage() { # NAME MODEL [LINES]
    printf '[stages.%s]\ntype = "analysis"\ninput = "rows"\nmodels = ["%s"]\nworkers = 2\nbatch_size = 1\n' "$1" "$2"
    printf 'prompt = "Name the topic of this text, %s. {{ text }}"\n%s\n' "$1" "${3:-}"
    printf '[stages.%s.output]\n%s = { type = "string", enum = ["trade", "peace"] }\n' "$1" "$1"
    printf '[outputs.%s]\ninput = "%s"\npath = "%s.csv"\n' "$1" "$1" "$1"
}

# Runs fanfold with its output in out.txt. Its exit code is the result.
fanfold() {
    OLLAMA_HOST=$HOST "$FANFOLD" "$@" >out.txt 2>&1
}

# Fails the check NAME unless the last command ended with CODE and out.txt contains each TEXT.
expect() { # NAME CODE FOUND TEXT..
    local name=$1 code=$2 found=$3 text
    shift 3
    if [ "$found" != "$code" ]; then
        fail "$name" "exit code $found instead of $code" out.txt
        return 1
    fi
    for text in "$@"; do
        grep -qF -- "$text" out.txt || { fail "$name" "\`$text\` is not in the output" out.txt; return 1; }
    done
}

plain_run() {
    project plain 4
    { head_of "$MODEL" ""; stage topic m; } >p.toml
    fanfold run p.toml
    expect "a run" 0 $? "4 answered" || return
    cp topic.csv first.csv
    ok "a run"
    if grep -qF "$VERSION" p.toml.lock; then
        ok "the version of Ollama is in the lock"
    else
        fail "the version of Ollama is in the lock" "p.toml.lock lacks $VERSION"
    fi
}

without_server() {
    cd "$WORK/plain" || return
    rm -rf topic.csv .fanfold/runs
    OLLAMA_HOST=http://127.0.0.1:9 "$FANFOLD" run p.toml >out.txt 2>&1
    expect "a finished spec without its server" 0 $? "the server was not asked" || return
    cmp -s topic.csv first.csv || { fail "a finished spec without its server" "the table differs"; return; }
    ok "a finished spec without its server"
}

removed_model() {
    local name="a finished spec whose model was removed"
    project removed 3
    api POST /api/copy "{\"source\":\"$MODEL\",\"destination\":\"fanfold-check-copy\"}" >/dev/null
    { head_of fanfold-check-copy ""; stage topic m; } >p.toml
    fanfold run p.toml
    expect "$name" 0 $? || return
    api DELETE /api/delete '{"model":"fanfold-check-copy"}' >/dev/null
    rm -rf topic.csv .fanfold/runs
    fanfold run p.toml
    expect "$name" 0 $? "the server was not asked" || return
    echo "s4,One more speech." >>data.csv
    fanfold run p.toml
    expect "$name" 3 $? "--replay" && ok "$name"
}

options() {
    project options 2
    { head_of "$MODEL" "top_k = 1
min_p = 0.1"; stage topic m; } >p.toml
    fanfold run p.toml
    expect "options of Ollama" 0 $? || return
    grep -q "options.top_k" p.toml.lock || { fail "options of Ollama" "top_k is not in the lock" p.toml.lock; return; }
    { head_of "$MODEL" 'extra = { top_k = 1 }'; stage topic m; } >wrong.toml
    fanfold validate wrong.toml
    expect "options of Ollama" 2 $? "top_k" && ok "options of Ollama"
}

long_row() {
    printf 'long,"' >>data.csv
    for _ in $(seq 1 12000); do printf 'responsibility ' >>data.csv; done
    echo '"' >>data.csv
}

truncated() {
    project truncated 1
    long_row
    { head_of "$MODEL" "num_ctx = 512"; stage topic m "max_failed = 1"; } >p.toml
    fanfold run p.toml
    expect "a prompt beyond the context" 0 $? "1 answered" "1 failed" && ok "a prompt beyond the context"
    printf '[providers.compatible]\ntype = "openai"\nbase_url = "%s/v1"\n' "$HOST" >v1.toml
    { head_of "$MODEL" "" | sed 's/"ollama"/"compatible"/'; stage topic m "max_failed = 1"; } >>v1.toml
    fanfold run v1.toml
    # A server whose context holds the prompt may answer it.
    if grep -q "2 answered" out.txt; then
        local most
        most=$(api GET /api/ps | sed -n 's/.*"context_length": *\([0-9]*\).*/\1/p')
        if [ "${most:-0}" -gt 4096 ]; then
            skip "a prompt beyond the context of /v1" "the server's context of $most tokens may hold the prompt"
        else
            fail "a prompt beyond the context of /v1" "a cut prompt was answered, context ${most:-unknown}" out.txt
        fi
    else
        expect "a prompt beyond the context of /v1" 0 0 "1 answered" "1 failed" && ok "a prompt beyond the context of /v1"
    fi
}

# Lists what is loaded, again and again, one line for each change, until it is killed.
watch_loaded() { # FILE
    local last='' now
    while :; do
        now=$(curl -sS -m 5 "$HOST/api/ps" 2>/dev/null | grep -o '"\(name\|context_length\)": *[^,}]*' | tr '\n' ' ')
        if [ -n "$now" ] && [ "$now" != "$last" ]; then
            echo "$now" >>"$1"
            last=$now
        fi
        sleep 0.05
    done
}

unload() {
    api POST /api/chat "{\"model\":\"$1\",\"messages\":[],\"keep_alive\":0}" >/dev/null 2>&1
    sleep 1
}

swaps() { # NAME, then two stages in p.toml
    local name=$1 watcher loads
    : >loaded.txt
    watch_loaded loaded.txt &
    watcher=$!
    local begun=$SECONDS
    fanfold run p.toml
    local code=$?
    kill "$watcher"
    wait "$watcher" 2>/dev/null
    expect "$name" 0 "$code" || return
    loads=$(wc -l <loaded.txt)
    if [ "$loads" -gt 2 ]; then
        fail "$name" "$loads states of the server instead of 2" loaded.txt
    else
        ok "$name ($((SECONDS - begun)) s)"
    fi
}

two_contexts() {
    project contexts 10
    unload "$MODEL"
    { head_of "$MODEL" "num_ctx = 2048"
      printf '[models.wide]\nprovider = "ollama"\nmodel = "%s"\nnum_ctx = 4096\nmax_tokens = 64\n' "$MODEL"
      stage topic m; stage tone wide; } >p.toml
    swaps "two contexts of one model are loaded once each"
}

two_models() {
    local name="two models on a server that holds one are loaded once each"
    [ -n "$OTHER" ] || { skip "$name" "no second model was given"; return; }
    [ -n "$OWN" ] || { skip "$name" "only with a server of its own: START_OLLAMA=1"; return; }
    project models 10
    unload "$MODEL"
    unload "$OTHER"
    { head_of "$MODEL" ""
      printf '[models.o]\nprovider = "ollama"\nmodel = "%s"\nmax_tokens = 64\n' "$OTHER"
      stage topic m; stage tone o; } >p.toml
    swaps "$name"
}

create() { # SYSTEM
    api POST /api/create "{\"model\":\"fanfold-check\",\"from\":\"$MODEL\",\"system\":\"$1\",\"stream\":false}" >create.txt
}

new_build() {
    local name="a new build during a run" i
    project build 60
    create "You are brief."
    grep -q success create.txt || { skip "$name" "the server can't make a model: $(head -c 200 create.txt)"; return; }
    { head_of fanfold-check ""; stage topic m "chunk_size = 10"; } >p.toml
    OLLAMA_HOST=$HOST "$FANFOLD" run p.toml >out.txt 2>&1 &
    local run=$!
    for i in $(seq 1 600); do
        "$FANFOLD" ledger info 2>/dev/null | grep -qE '^ +([6-9]|[1-5][0-9]) answers' && break
        sleep 0.05
    done
    kill -0 "$run" 2>/dev/null || { wait "$run"; skip "$name" "the run ended before the build was made ($i)"; return; }
    create "You are very brief indeed."
    wait "$run"
    expect "$name" 5 $? "models.m.build.digest" "--update-lock" || return
    [ ! -e topic.csv ] || { fail "$name" "a table was written"; return; }
    fanfold run p.toml --update-lock
    expect "$name" 0 $? "60 answered" && ok "$name"
}

outage() {
    local name="an outage in the middle of a run"
    [ -n "$OWN" ] || { skip "$name" "only with a server of its own: START_OLLAMA=1"; return; }
    project outage 40
    { head_of "$MODEL" ""; stage topic m "max_attempts = 1"; } >p.toml
    OLLAMA_HOST=$HOST "$FANFOLD" run p.toml >out.txt 2>&1 &
    local run=$!
    for _ in $(seq 1 600); do
        "$FANFOLD" ledger info 2>/dev/null | grep -qE '^ +[1-9][0-9]* answer' && break
        sleep 0.05
    done
    kill -9 "$OWN"
    wait "$OWN" 2>/dev/null
    sleep 10
    start_own
    wait "$run"
    expect "$name" 0 $? "40 answered + 0 failed" && ok "$name"
}

start_own() {
    OLLAMA_HOST=127.0.0.1:$OWN_PORT OLLAMA_MAX_LOADED_MODELS=1 ollama serve >>"$WORK/serve.txt" 2>&1 &
    OWN=$!
    for _ in $(seq 1 100); do
        curl -sS -m 2 "http://127.0.0.1:$OWN_PORT/api/version" >/dev/null 2>&1 && return 0
        sleep 0.2
    done
    echo "ollama serve does not answer:"
    tail -5 "$WORK/serve.txt"
    exit 2
}

if [ "${START_OLLAMA:-}" = 1 ]; then
    command -v ollama >/dev/null || { echo "START_OLLAMA=1, but the program ollama is not installed"; exit 2; }
    start_own
    HOST=http://127.0.0.1:$OWN_PORT
    echo "a server of its own at $HOST"
fi
VERSION=$(api GET /api/version 2>/dev/null | sed -n 's/.*"version": *"\([^"]*\)".*/\1/p')
[ -n "$VERSION" ] || { echo "no Ollama at $HOST"; exit 2; }
api GET /api/tags | grep -q "\"$MODEL" || { echo "$HOST does not have the model $MODEL"; exit 2; }
echo "Ollama $VERSION at $HOST, model $MODEL, $("$FANFOLD" --version)"

plain_run
without_server
removed_model
options
truncated
two_contexts
two_models
new_build
outage

echo "$FAILED failed"
[ "$FAILED" = 0 ]
