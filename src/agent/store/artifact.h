/* Finds (LIST) and sends (GET) files that tests leave behind. See wire/protocol.h. */
#ifndef RUNNER_AGENT_ARTIFACT_H
#define RUNNER_AGENT_ARTIFACT_H

#include "agent/wire/frame.h"

void artifact_list(uint32_t id, const struct list_frame *frame);
void artifact_get(uint32_t id, const struct get_frame *frame);
bool artifact_credit(uint32_t id, uint32_t bytes); /* false: there is no such GET */
bool artifact_stop(uint32_t id);                   /* false: there is no such LIST or GET */
bool artifact_turn(void); /* works for a moment; true: there is more to do at once */
void artifact_end_all(void);

#endif
