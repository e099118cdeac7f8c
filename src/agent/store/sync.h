/* Keeps folders in step with those of the host: see sync.c and, for the frames, wire/protocol.h. */
#ifndef RUNNER_AGENT_SYNC_H
#define RUNNER_AGENT_SYNC_H

#include "agent/wire/frame.h"

void sync_begin(uint32_t id, const struct sync_frame *frame);
const char *sync_entries(uint32_t id, struct slice bytes); /* NULL, or what is wrong with it */
const char *sync_chunk(uint32_t id, uint32_t index, struct slice bytes);
bool sync_stop(uint32_t id); /* false: there is no such sync */
bool sync_turn(void);        /* works for a moment; true: there is more to do at once */
void sync_end_all(void);

#endif
