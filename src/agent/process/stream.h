/* Carries what goes through a command's pipes and sockets. */
#ifndef RUNNER_AGENT_STREAM_H
#define RUNNER_AGENT_STREAM_H

#include "registry.h"

/* Makes the pipe or socket; *child is the child's end, the caller's to close. Returns 0 or errno. */
int stream_open(struct command *c, int number, int *child);
/* At most one frame's worth a turn, and nothing without credit or while much output is unsent. */
void stream_read(struct stream *s);
void stream_input(struct stream *s, struct slice bytes);
void stream_write(struct stream *s); /* what waits in its queue */
void stream_close(struct stream *s);

void streams_begin_turn(void);
bool streams_unread(void); /* has stream_read left something for the next turn? */

#endif
