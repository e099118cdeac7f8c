/* Starts one process. */
#ifndef RUNNER_AGENT_SPAWN_H
#define RUNNER_AGENT_SPAWN_H

#include <sys/resource.h>
#include <sys/types.h>

#include "agent/wire/frame.h"

/* What every child gets, set once at the start. */
extern struct spawn_defaults {
  int null;            /* /dev/null */
  struct rlimit files; /* RLIMIT_NOFILE as it was */
} spawn_defaults;

/* The child's environment: RUNNER_COMMAND, then the agent's own variables changed as the launch
 * says. One allocation for the caller to free; all strings but the tag stay where they are. */
char **spawn_environment(const struct launch *launch, const char *tag);
pid_t spawn(const struct launch *launch, const int fds[5], char **env, char message[static 512]);

#endif
