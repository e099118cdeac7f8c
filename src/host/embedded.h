/* Lists the files that embed.cmake has baked into the binary, sorted by path; the last entry has path NULL. */
#ifndef RUNNER_EMBEDDED_H
#define RUNNER_EMBEDDED_H

#include <stddef.h>

struct embedded_file {
  const char *path; /* as in the repository: "lua/runner/base/task/init.lua" */
  const unsigned char *bytes;
  size_t size;
};

extern const struct embedded_file embedded_files[];

#endif
