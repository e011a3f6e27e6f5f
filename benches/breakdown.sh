#!/bin/sh
# Sums up a profile by who spent the time: benches/breakdown.sh perf.data
set -eu
perf report -i "$1" --no-children --stdio -g none -F overhead,comm,dso,symbol 2>/dev/null | awk '
    /^#/ || NF < 4 { next }
    {
        share = $1 + 0
        # The names of threads and programs say nothing of who it was.
        line = $3
        for (field = 4; field <= NF; field++) line = line " " $field
        sub(/^measure[^ ]*/, "", line)
        if (line ~ /\[k\]/) who = ($2 ~ /^commit-/) ? "kernel, commit thread (write, fsync)" : "kernel, other threads"
        else if (line ~ /vdso/) who = "clock"
        else if (line ~ /libc|libm|alloc::/) who = "allocator, memory copies, locks"
        else if (line ~ /recorder::|tracing/) who = "spans and the recorder"
        else if (line ~ /rusqlite/) who = "rusqlite"
        else if (line ~ /drystone_store/) who = "drystone-store"
        else if (line ~ /drystone_call/) who = "drystone-call"
        else if (line ~ /drystone_gateway/) who = "drystone-gateway"
        else if (line ~ /hyper|httparse|http::|axum|tower/) who = "hyper, http, axum"
        else if (line ~ /serde/) who = "JSON"
        else if (line ~ /tokio|mio::/) who = "tokio"
        else if (line ~ /sha2|sha256/) who = "SHA-256"
        else if (line ~ /drystone_benches/) who = "handler and generated code"
        else if (line ~ /::|<|core|std/) who = "other Rust"
        else who = "SQLite"
        sum[who] += share
    }
    END { for (who in sum) if (sum[who] >= 0.5) printf "| %s | %.0f %% |\n", who, sum[who] }
' | sort -t '|' -k 3 -rn
