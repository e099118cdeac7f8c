# A process may open at least 256 files.
limit=$(ulimit -n)
echo "limit: $limit"
[ "$limit" = unlimited ] || [ "$limit" -ge 256 ]
