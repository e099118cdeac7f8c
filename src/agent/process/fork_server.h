/* Starts commands by fork servers: other commands that fork on request (wire/protocol.h). */
#ifndef RUNNER_AGENT_FORK_SERVER_H
#define RUNNER_AGENT_FORK_SERVER_H

#include "registry.h"

int fork_server_open(struct command *c, int *child); /* 0 or errno; *child is the child's end */
/* Asks c->via for the process of c, now or when its socket has room. */
void fork_server_ask(struct command *c);
void fork_server_close(struct command *c);
void fork_server_forget(struct command *client); /* it ends before the answer */
void fork_server_reaped(pid_t pid, int status, const struct rusage *usage); /* of no command */
void command_close_child_fds(struct command *c); /* those that were not handed over */

#endif
