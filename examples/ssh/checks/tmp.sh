# There is room for temporary files: 16 MB can be written and read back.
file=$(mktemp) || exit 1
trap 'rm -f "$file"' EXIT
dd if=/dev/zero of="$file" bs=1048576 count=16 2>/dev/null || exit 1
[ "$(wc -c <"$file")" -eq 16777216 ]
