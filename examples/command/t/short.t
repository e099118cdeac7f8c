print "1..3\nok 1 - one of three\n";
