/* Matches paths with patterns: `*`, `?` and `[a-z]` within a part, `**` for any number of parts. */
#ifndef RUNNER_COMMON_GLOB_H
#define RUNNER_COMMON_GLOB_H

#include <stdbool.h>

enum { GLOB_PARTS = 62 };

bool glob_valid(const char *pattern);
bool glob_matches(const char *pattern, const char *path);
bool glob_reaches(const char *pattern, const char *folder); /* can match something below it? */

#endif
