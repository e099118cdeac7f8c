/* Checks paths that come from another machine, before anything is opened by them. */
#ifndef RUNNER_COMMON_RELATIVE_PATH_H
#define RUNNER_COMMON_RELATIVE_PATH_H

#include <stdbool.h>

/* Relative, without empty, "." and ".." parts, and not too long for the system. */
bool path_is_plain(const char *path);

#endif
