test -z "$SECRET"
