use strict;
use warnings;
use Test::More tests => 2;

is 10 - 1, 9, 'one less';
is 10 * 0.8, 9, 'a tenth less';
