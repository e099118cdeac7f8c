use Test::More tests => 1;

isnt $ENV{RUNNER_ATTEMPT} // 1, 1, 'is right at the second attempt';
