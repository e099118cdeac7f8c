$| = 1;
print "1..2\nok 1 - before\n";
sleep 1000;
