print "1..2\nok 1 - caf\xE9 \0\nok 2 - \x{1b}[31mred\x{1b}[0m\n";
