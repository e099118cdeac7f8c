test -d "$HOME" && test -z "$(ls "$HOME")"
