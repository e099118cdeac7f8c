/* Keeps the lanes: commands of one lane run one after the other, in order of arrival. */
#ifndef RUNNER_AGENT_LANE_H
#define RUNNER_AGENT_LANE_H

#include "registry.h"

bool lane_join(struct command *c, uint32_t number); /* true: it is the first, and to be started */
void lane_leave(struct command *c);                 /* the next one is due when it was the first */

bool lanes_are_due(void);
/* Calls start for the first command of each lane that is due, once. Starting may end the command. */
void lanes_start_due(void (*start)(struct command *c));

#endif
