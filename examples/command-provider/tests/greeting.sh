# The provider's environment arrives.
test "$GREETING" = hello
