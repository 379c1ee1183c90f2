#!/bin/bash
# postgresql.sh BIN MEMORY: a server in this folder, as whoever runs this; prints what must be the same every time.
set -euo pipefail
bin=$1 memory=$2
data=$PWD/data
export PGHOST=$PWD PGPORT=54329 PGDATABASE=postgres PGUSER=owner PGCONNECT_TIMEOUT=20
"$bin/initdb" -D "$data" -U owner -A trust --no-locale -E UTF8 --no-sync >initdb.log
{
    echo "listen_addresses = ''"
    echo "unix_socket_directories = '$PWD'"
    echo "port = $PGPORT"
    echo "shared_memory_type = $memory"
    echo "dynamic_shared_memory_type = $([ "$memory" = sysv ] && echo sysv || echo posix)"
    echo "shared_buffers = 32MB"
    echo "fsync = off"
    echo "autovacuum = off"
} >>"$data/postgresql.conf"
"$bin/pg_ctl" -D "$data" -w -t 60 -l server.log start >/dev/null
echo "started: $?"
# What fails on the way must not leave the server behind.
trap 'if [ -e "$data/postmaster.pid" ]; then "$bin/pg_ctl" -D "$data" -m immediate stop >/dev/null; fi' EXIT
ask() { "$bin/psql" -X -q -A -t -c "$1"; }
pgbench=$(command -v "$bin/pgbench" || command -v pgbench)
"$pgbench" -i -s 1 -q 2>/dev/null
"$pgbench" --random-seed=7 -c 2 -j 2 -t 150 -n 2>/dev/null | grep -E 'processed|failed'
echo "rows: $(ask 'select count(*) from pgbench_accounts') $(ask 'select count(*) from pgbench_history')"
# Parallel workers have their own dynamic segments.
"$bin/psql" -X -q -A -t <<'SQL'
set parallel_setup_cost = 0; set parallel_tuple_cost = 0; set min_parallel_table_scan_size = 0;
set max_parallel_workers_per_gather = 2; set force_parallel_mode = on;
select count(*), sum(aid), sum(bid) from pgbench_accounts;
select count(*) from pgbench_accounts a join pgbench_accounts b using (aid) where a.aid % 3 = 0;
SQL
# A backend that is killed makes the server end all others and begin anew, with new shared memory.
"$bin/psql" -X -q -c 'select pg_sleep(60)' >/dev/null 2>&1 &
sleeper=$!
backend=
for _ in $(seq 100); do
    backend=$(ask "select pid from pg_stat_activity where query like 'select pg_sleep%' and pid <> pg_backend_pid()")
    [ -z "$backend" ] || break
    sleep 0.1
done
kill -KILL "$backend"
wait "$sleeper" && echo "the client noticed nothing" || echo "the client ended with $?"
for _ in $(seq 100); do
    ask 'select 1' >/dev/null 2>&1 && break
    sleep 0.1
done
echo "rows after the recovery: $(ask 'select count(*) from pgbench_accounts') $(ask 'select count(*) from pgbench_history')"
"$pgbench" --random-seed=8 -c 2 -t 50 -n 2>/dev/null | grep -E 'processed|failed'
"$bin/pg_ctl" -D "$data" -m fast -w -t 60 stop >/dev/null
echo "stopped: $?"
grep -cE 'was terminated by signal 9' server.log
# One line of the log for each kind of trouble, without what changes from run to run.
# Those who ask while it recovers are told so, or not, as it happens.
awk '/PANIC|FATAL|ERROR/ && !/the database system is/' server.log | sed -E 's/^.* (PANIC|FATAL|ERROR):/\1:/' | sort -u
