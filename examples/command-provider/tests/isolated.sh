# A sandbox of its own: nothing here but the tests.
test "$(ls)" = tests
